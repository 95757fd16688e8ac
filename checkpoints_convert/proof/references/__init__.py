"""The libraries our models are held against: one small module a system, found by its name.

A module declares `REFERENCES`, a list of `Reference`: how to build the library's model, how to run both sides alike,
and which modules belong together. Libraries are imported when a model is built, never before.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.building import build_model
from checkpoints_convert.proof.compare import Comparison, Pair, Progress, compare
from checkpoints_convert.tables import SYSTEMS
from minimodels.errors import UserError

Sizes = Mapping[str, Any]  # numbers in the library's own words
Outputs = dict[str, Tensor]


def strict_load(reference: "Reference", tensors: Mapping[str, Tensor], sizes: Sizes) -> nn.Module:
    """The library's model with an official file's tensors; every name must fit, but for those the table drops."""
    model = reference.build(**sizes)
    dropped = SYSTEMS[reference.system].formats[reference.format].table.convert(tensors).dropped
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in dropped}, strict=True)
    return model


def pretrained(reference: "Reference", tensors: Mapping[str, Tensor], sizes: Sizes) -> nn.Module:
    """transformers renames, ties and drops while it loads: its own loader takes an official file's tensors.

    Raises:
        UserError: it finds tensors missing, too much, or of another shape.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # what it finds wrong is told below, in one line
    logging.disable_progress_bar()
    empty: Any = reference.build(**sizes)
    model, report = type(empty).from_pretrained(
        None, config=empty.config, state_dict=dict(tensors), output_loading_info=True
    )
    if wrong := {kind: sorted(map(str, found))[:3] for kind, found in report.items() if found}:
        raise UserError(f"{reference.library} does not take these tensors: {wrong}")
    return model


@dataclass(frozen=True)
class Trial:
    """Sizes and inputs on which both sides of a reference are compared.

    Args:
        changes: what differs from the reference's tiny sizes.
        seed, batch: of all weights and inputs; how many inputs.
        image_size: pictures of this height and width; None takes the trained size.
        pairs: modules to compare where they are not the reference's own `pairs`.
    """

    changes: Sizes = field(default_factory=dict)
    seed: int = 0
    batch: int = 2
    image_size: tuple[int, int] | None = None
    pairs: Sequence[Pair] | None = None


@dataclass(frozen=True)
class Reference:
    """One of our models beside one library's.

    Args:
        model, library: as the parity table calls them.
        system, format: how `build` reads the library's `state_dict`.
        build: sizes -> the library's model.
        inputs: our constructor's arguments, a generator and the batch size -> {name: tensor}.
        run, run_reference: (model, **inputs) -> {output name: tensor}, the same names on both sides.
        pairs: modules whose outputs must agree. `{i}` counts from 0 for as long as our model has such a module.
        told: sizes -> what our converter must be told.
        tiny: sizes for a second on a laptop, chosen so that every branch changes the answer.
        trials: name -> where the parity suite compares the two.
        official: official name -> its sizes.
        open: the library's own way to take an official file's tensors.
        sizes: our constructor's arguments, all of them -> the sizes of the library's model; None where it has none.
    """

    model: str
    library: str
    system: str
    format: str
    build: Callable[..., nn.Module]
    inputs: Callable[[Mapping[str, Any], torch.Generator, int], dict[str, Tensor]]
    run: Callable[..., Outputs]
    run_reference: Callable[..., Outputs]
    pairs: Sequence[Pair]
    tiny: Sizes
    trials: Mapping[str, Trial] = field(default_factory=lambda: {"tiny": Trial()})
    official: Mapping[str, Sizes] = field(default_factory=dict)
    told: Callable[[Sizes], dict[str, Any]] = lambda sizes: {}
    open: Callable[["Reference", Mapping[str, Tensor], Sizes], nn.Module] = strict_load
    sizes: Callable[[Mapping[str, Any]], Sizes | None] = lambda arguments: None

    def ours(self, theirs: nn.Module, sizes: Sizes) -> nn.Module:
        """Our model, converted from the library's; tensors that are only renamed share its memory."""
        return self.convert(theirs.state_dict(), sizes)

    def convert(self, tensors: Mapping[str, Tensor], sizes: Sizes, format_name: str = "") -> nn.Module:
        """Our model from tensors under the library's names (`format_name` where a file spells them in another way)."""
        return build_model(tensors, SYSTEMS[self.system], format_name or self.format, self.told(sizes))

    def to_ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors under the library's names -> ours; a table moves numbers and changes none, so gradients convert too.

        Raises:
            UserError: a name that the table does not know.
        """
        converted = SYSTEMS[self.system].formats[self.format].table.convert(tensors)
        if converted.problems:
            raise UserError(f"{self.model} beside {self.library}: " + "; ".join(converted.problems))
        return converted.tensors

    def compare(
        self,
        ours: nn.Module,
        theirs: nn.Module,
        inputs: Mapping[str, Tensor],
        *,
        title: str = "",
        progress: Progress | None = None,
    ) -> Comparison:
        """Both on the same inputs, see `compare.compare`."""
        return compare(
            ours,
            theirs,
            inputs,
            pairs=self.pairs,
            run=self.run,
            run_reference=self.run_reference,
            to_ours=self.to_ours,
            title=title or f"{self.model} beside {self.library}",
            progress=progress,
        )


def references(system: str) -> list[Reference]:
    """What a system is held against; nothing for one that no library has."""
    name = f"{__name__}.{system}"
    return importlib.import_module(name).REFERENCES if importlib.util.find_spec(name) else []


def all_references() -> list[Reference]:
    """Every reference of every system."""
    return [reference for system in SYSTEMS for reference in references(system)]


def random_image(generator: torch.Generator, batch: int, height: int, width: int) -> Tensor:
    """Noise with the mean and spread of normalised pictures."""
    return torch.randn(batch, 3, height, width, generator=generator)
