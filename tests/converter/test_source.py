"""Verdicts and defaults on the way from a name to a model: what counts, which config, which dtype, which device."""

import json

import pytest
import torch

from checkpoints_convert.inspection import Line, inspect, together
from checkpoints_convert.load import config_of, load, open_source
from checkpoints_convert.proof import verify as verifying
from checkpoints_convert.proof.compare import Comparison, Row
from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.proof.verify import Report, beside, check_device
from checkpoints_convert.reading.files import Checkpoint
from minimodels.errors import UserError
from minimodels.stored.models import save


def comparison(difference):
    return Comparison("", [Row("output", "a", "b", (1,), (1,), float64=difference)])


def test_one_that_differs_spoils_the_report():
    assert Report([comparison(0.0), comparison(1e-11)]).ok
    for both in ((0.0, 1e-3), (1e-3, 0.0)):
        report = Report([comparison(one) for one in both])
        assert not report.ok and not report.to_json()["ok"] and report.worst.largest == 1e-3


def test_the_seed_draws_the_inputs_too(monkeypatch):
    """Not the weights alone."""
    seen = []
    reference = reference_named("ViT", "timm")
    monkeypatch.setattr(
        type(reference), "compare", lambda self, ours, theirs, inputs, **_: seen.append(inputs["image"])
    )
    for seed in (0, 1, 1):
        beside(reference, reference.tiny, seed=seed)
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("error", [RuntimeError, AssertionError])
def test_a_device_that_torch_was_not_built_for(monkeypatch, error):
    """torch without CUDA says so by an AssertionError, a missing driver by a RuntimeError."""

    def refuse(*sizes, device):
        raise error("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(verifying.torch, "zeros", refuse)
    with pytest.raises(UserError, match="device 'cuda' cannot be used here"):
        check_device("cuda")


def test_mps_where_there_is_one(monkeypatch):
    monkeypatch.setattr(verifying.torch, "zeros", lambda *sizes, device: None)
    with pytest.raises(UserError, match="mps has no float64"):
        check_device("mps")
    assert check_device("cuda").type == "cuda" and check_device("meta").type == "meta"


def test_the_config_beside_counts_before_the_command_line_inside(tmp_path):
    extras = {"args": {"mha": "8"}, "config": {"model_type": "clip"}, "open_clip_config": {"model_cfg": {}}}

    def of(file, *names):
        chosen = {name: extras[name] for name in names}
        return set(config_of(Checkpoint({}, "torch", tmp_path / file, extras=chosen)))

    for file, both in (("open_clip_model.safetensors", "model_cfg"), ("model.safetensors", "model_type")):
        assert of(file, "args", "config", "open_clip_config") == {both}
        assert of(file, "args", "config") == {"model_type"} and of(file, "args") == {"mha"} and of(file) == set()
    assert of("open_clip_model.safetensors", "args", "open_clip_config") == {"model_cfg"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, None])
def test_our_own_files_come_in_the_asked_dtype(tmp_path, dtype):
    ours = twins(reference_named("ViT", "timm")).ours
    save(tmp_path / "a.safetensors", ours, ours.about, torch.float16)
    assert load(tmp_path / "a.safetensors", dtype=dtype).pos.dtype == (dtype or torch.float16)
    assert load("tiny-vit", dtype=dtype).pos.dtype == (dtype or torch.float16)


def test_our_own_files_say_all_themselves():
    """What is told beside would be passed over in silence."""
    with pytest.raises(UserError, match=r"one of our files.*tell it nothing \(num_heads\)"):
        load("tiny-vit", num_heads=4)


def test_blocks_alike_share_a_line_and_layers_do_not():
    """The number of a block stands between dots; the one in fc1 or norm2 is a name."""
    names = [f"blocks.{block}.mlp.{layer}.weight" for block in range(3) for layer in ("fc1", "fc2")]
    found = together([Line((name,), name, "keep", (2,), "float32") for name in [*names, "norm1.bias", "norm2.bias"]])
    assert [(line.theirs[0], line.times) for line in found] == [
        ("blocks.{i}.mlp.fc1.weight", 3),
        ("blocks.{i}.mlp.fc2.weight", 3),
        ("norm1.bias", 1),
        ("norm2.bias", 1),
    ]


def test_parameters_are_counted_without_buffers(tmp_path):
    """A ResNet's running means are stored and not learned."""
    ours = twins(reference_named("CLIP ResNet", "open_clip")).ours
    save(tmp_path / "a.safetensors", ours, ours.about)
    found = inspect(open_source(tmp_path / "a.safetensors"))
    assert found.parameters == sum(one.numel() for one in ours.parameters())
    assert found.parameters < found.numbers and json.dumps(found.to_json())
