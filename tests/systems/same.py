"""Two models side by side for a test: the library's with every parameter redrawn, ours converted from it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.compare import Comparison
from checkpoints_convert.proof.references import Reference, all_references
from checkpoints_convert.proof.verify import redraw_all


def reference_named(model: str, library: str) -> Reference:
    """One of the references, by the names that the parity table gives them."""
    (found,) = (r for r in all_references() if (r.model, r.library) == (model, library))
    return found


@dataclass
class Twins:
    """Both models, on one device, and inputs for them."""

    reference: Reference
    sizes: Mapping[str, Any]
    theirs: nn.Module
    ours: nn.Module
    inputs: dict[str, Tensor] = field(default_factory=dict)

    def compare(self) -> Comparison:
        """Everything against everything, in float64."""
        return self.reference.compare(
            self.ours, self.theirs, self.inputs, title=f"{self.reference.library} {self.sizes}"
        )

    def assert_same(self) -> Comparison:
        """Fail with the table, OK / DIFF / SHAPE a block, unless everything is equal to 1e-10."""
        comparison = self.compare()
        assert comparison.ok, f"\n{comparison}"
        return comparison


def twins(
    reference: Reference,
    sizes: Mapping[str, Any] | None = None,
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
    batch: int = 2,
    image_size: tuple[int, int] | None = None,
) -> Twins:
    """The library's model with every parameter redrawn, ours from it, and random inputs (pictures of `image_size`)."""
    sizes = reference.tiny if sizes is None else sizes
    theirs = redraw_all(reference.build(**sizes), seed)
    ours = copy.deepcopy(reference.ours(theirs, sizes))  # a test may change ours in place, and theirs must not follow
    generator = torch.Generator().manual_seed(seed)
    inputs = reference.inputs(ours.about["arguments"], generator, batch)
    if image_size is not None:
        inputs["image"] = torch.randn(batch, 3, *image_size, generator=generator)
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    return Twins(reference, sizes, theirs.to(device), ours.to(device), inputs)


def tiny(reference: Reference, **changes: Any) -> dict[str, Any]:
    """The reference's tiny sizes with some of them changed."""
    return {**reference.tiny, **changes}
