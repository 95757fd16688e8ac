"""No model reads a tensor's value: each runs on fake tensors, which have none, and under `torch.export`.

The models are found: the tiny one of each reference, and each embedded model whose class no library has.
"""

from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from checkpoints_convert.proof.references import all_references
from checkpoints_convert.proof.suite import twins
from minimodels.stored import embedded as embedded_files
from minimodels.stored import models


class Whole(nn.Module):
    """A model and everything that `run` asks of it, as one forward."""

    def __init__(self, model: nn.Module, run: Any):
        super().__init__()
        self.model, self.run = model, run

    def forward(self, **inputs: Tensor) -> Any:
        return self.run(self.model, **inputs)


class Case(NamedTuple):
    """What to run."""

    whole: Whole
    inputs: dict[str, Tensor]


REFERENCES = {f"{one.model}, {one.library}": one for one in all_references()}
FIRSTS = {one.model: name for name, one in reversed(REFERENCES.items())}  # one library of a model is enough to export


def embedded() -> list[str]:
    """Embedded models of a system that no library has."""
    held, found = {one.system for one in REFERENCES.values()}, []
    for name in embedded_files.names():
        with safe_open(embedded_files.file(name), framework="pt") as file:
            found += [name] * (file.metadata()["system"] not in held)
    return found


def case(name: str) -> Case:
    """The tiny model of a reference, or an embedded model with a picture and, where it reads them, words; in float64.

    The picture is noise: on an even one, LAVT's instance norm makes large numbers of the last digits.
    """
    if name in REFERENCES:
        pair = twins(REFERENCES[name])
        return Case(Whole(pair.ours.double().eval(), REFERENCES[name].run), doubled(pair.inputs))
    model: Any = models.load(name, dtype=torch.float64)
    words = model.tokenize(["red dog"]) if hasattr(model, "tokenize") else ()
    words = words if isinstance(words, tuple) else (words,)
    shape = model.preprocess(Image.new("RGB", (64, 64))).shape
    inputs = {"image": torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))}
    inputs |= {f"words_{number}": part for number, part in enumerate(words)}
    return Case(Whole(model, lambda model, **given: {"answer": model(*given.values())}), doubled(inputs))


def doubled(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating numbers in float64."""
    return {name: one.double() if one.is_floating_point() else one for name, one in inputs.items()}


def on_fakes(whole: Whole, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The forward with tensors that have shapes and no numbers; reading one raises."""
    mode = FakeTensorMode()
    state = {name: mode.from_tensor(tensor) for name, tensor in whole.named_parameters()}
    state |= {name: mode.from_tensor(tensor) for name, tensor in whole.named_buffers()}
    with mode:
        fakes = {name: mode.from_tensor(tensor) for name, tensor in inputs.items()}
        return torch.func.functional_call(whole, state, (), fakes)


@pytest.mark.parametrize("name", [*REFERENCES, *embedded()])
def test_runs_on_fake_tensors(name):
    whole, inputs = case(name)
    with torch.no_grad():
        wanted = whole(**inputs)
    assert {key: one.shape for key, one in on_fakes(whole, inputs).items()} == {k: w.shape for k, w in wanted.items()}


@pytest.mark.parametrize("name", [*FIRSTS.values(), *embedded()])
def test_exports(name):
    whole, inputs = case(name)
    program = torch.export.export(whole, (), kwargs=inputs, strict=False).module()
    with torch.no_grad():
        answer, wanted = program(**inputs), whole(**inputs)
    for key in wanted:
        torch.testing.assert_close(answer[key], wanted[key], atol=1e-10, rtol=1e-10)


def stop_at_the_end(model: Any, image: Tensor, ids: Tensor) -> dict[str, Tensor]:
    return {"text": model.encode_text(ids[:, : int(ids.argmax(dim=-1).max()) + 1])}


def look_for_padding(model: Any, image: Tensor, ids: Tensor) -> dict[str, Tensor]:
    return {"text": model.encode_text(ids if (ids == 0).any() else ids[:, :1])}


@pytest.mark.parametrize("reads", [stop_at_the_end, look_for_padding])
def test_a_model_that_reads_a_value_is_caught(reads):
    whole, inputs = case(next(iter(name for name in REFERENCES if name.startswith("CLIP "))))
    with pytest.raises(DataDependentOutputException):
        on_fakes(Whole(whole.model, reads), inputs)
    with pytest.raises(Exception, match="data-dependent"):
        torch.export.export(Whole(whole.model, reads), (), kwargs=inputs, strict=False)
