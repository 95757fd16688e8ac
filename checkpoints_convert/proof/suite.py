"""The parity suite: the library's model with every parameter redrawn, and ours or a reader's own made from it.

    prove(reference)                       our model beside one library's, on every trial that the reference names
    prove(reference, Own(build, table))    a reader's own class, with the reader's conversion table
    twins(reference).assert_same()         both models of one trial, to be looked at and changed

Everything runs in float64: the outputs, the output of every block, the gradients of inputs and parameters.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.compare import Comparison, Pair, compare
from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, all_references
from checkpoints_convert.proof.verify import Report, redraw_all
from checkpoints_convert.tables.rules import Table
from minimodels.errors import UserError


@dataclass(frozen=True)
class Own:
    """A reader's own model: how to build it empty, and which of the library's tensors go where.

    Args:
        build: the library's sizes -> the empty model.
        table: the library's names -> the reader's.
        run: (model, **inputs) -> {output name: tensor}, with the reference's names; None runs it as ours is run.
        pairs: (module of the reader, module of the library) whose outputs must agree.
    """

    build: Callable[..., nn.Module]
    table: Table
    run: Callable[..., Outputs] | None = None
    pairs: Sequence[Pair] = ()

    def convert(self, tensors: Mapping[str, Tensor], sizes: Sizes) -> nn.Module:
        """The reader's model, filled."""
        model = self.build(**sizes)
        model.load_state_dict(self.to_ours(tensors), strict=True)
        return model.eval()

    def to_ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors under the library's names -> the reader's; gradients too.

        Raises:
            UserError: a name that the table does not know.
        """
        converted = self.table.convert(tensors)
        if converted.problems:
            raise UserError("; ".join(converted.problems))
        return converted.tensors


@dataclass
class Twins:
    """Both models, on one device, and inputs for them."""

    reference: Reference
    sizes: Sizes
    theirs: nn.Module
    ours: nn.Module
    inputs: dict[str, Tensor]
    pairs: Sequence[Pair] = ()
    own: Own | None = None

    def compare(self) -> Comparison:
        """Everything against everything, in float64."""
        side = self.own or self.reference
        return compare(
            self.ours,
            self.theirs,
            self.inputs,
            pairs=self.pairs,
            run=side.run or self.reference.run,
            run_reference=self.reference.run_reference,
            to_ours=side.to_ours,
            title=f"{self.reference.model} beside {self.reference.library}: {self.sizes}",
        )

    def assert_same(self) -> Comparison:
        """Fail with the table, OK / DIFF / SHAPE a block, unless everything is equal to 1e-10."""
        comparison = self.compare()
        assert comparison.ok, f"\n{comparison}"
        return comparison


def twins(
    reference: Reference,
    sizes: Sizes | None = None,
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
    batch: int = 2,
    image_size: tuple[int, int] | None = None,
    pairs: Sequence[Pair] | None = None,
    own: Own | None = None,
) -> Twins:
    """The library's model with every parameter redrawn, ours or the reader's `own` from it, and random inputs.

    Args:
        reference, sizes: which library, and its model's sizes (its tiny ones).
        device, seed, batch: where they lie, what to draw, how many inputs.
        image_size: pictures of this height and width; None takes the trained size.
        pairs: modules to compare; None takes the reference's, or those of `own`.
        own: a reader's model in the place of ours.
    """
    sizes = reference.tiny if sizes is None else sizes
    theirs = redraw_all(reference.build(**sizes), seed)
    ours = reference.ours(theirs, sizes)
    about: Any = ours.about
    generator = torch.Generator().manual_seed(seed)
    inputs = reference.inputs(about["arguments"], generator, batch)
    if image_size is not None:
        inputs["image"] = torch.randn(batch, 3, *image_size, generator=generator)
    if own is not None:
        ours = own.convert(theirs.state_dict(), sizes)
    ours = copy.deepcopy(ours)  # whoever changes ours in place must not change theirs, whose memory it shares
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    compared = (own or reference).pairs if pairs is None else pairs
    return Twins(reference, sizes, theirs.to(device), ours.to(device), inputs, compared, own)


def tried(reference: Reference, trial: Trial, *, device: str | torch.device = "cpu", own: Own | None = None) -> Twins:
    """The twins of one trial."""
    return twins(
        reference,
        tiny(reference, **trial.changes),
        device=device,
        seed=trial.seed,
        batch=trial.batch,
        image_size=trial.image_size,
        pairs=None if own else trial.pairs,
        own=own,
    )


def prove(
    reference: Reference,
    own: Own | None = None,
    *,
    trials: Iterable[str] | None = None,
    device: str | torch.device = "cpu",
) -> Report:
    """Our model, or a reader's own, beside one library's on the reference's trials (all of them, or those named)."""
    chosen = reference.trials if trials is None else trials
    return Report([tried(reference, reference.trials[name], device=device, own=own).compare() for name in chosen])


def tiny(reference: Reference, **changes: Any) -> dict[str, Any]:
    """The reference's tiny sizes with some of them changed."""
    return {**reference.tiny, **changes}


def reference_named(model: str, library: str) -> Reference:
    """One of the references, by the names that the parity table gives them."""
    (found,) = (r for r in all_references() if (r.model, r.library) == (model, library))
    return found
