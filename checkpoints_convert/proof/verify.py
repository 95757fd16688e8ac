"""The proof: our model beside the libraries that have it too.

    verify("clip")                            small, every parameter redrawn: open_clip's and transformers' beside ours
    verify("openai/clip-vit-base-patch32")    at the official size; official weights where they are in the cache

How two models are compared is in `compare.py`; which library has which model, in `references/`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from checkpoints_convert.exporting import whole_arguments
from checkpoints_convert.fetching import hub
from checkpoints_convert.load import Source, load_source
from checkpoints_convert.proof.compare import TOLERANCE, Comparison, Progress, Row, compare, difference
from checkpoints_convert.proof.references import Reference, Sizes, all_references, references
from checkpoints_convert.reading.files import read_tensors
from checkpoints_convert.tables import SYSTEMS
from minimodels.errors import UserError

__all__ = ["TOLERANCE", "Comparison", "Report", "Row", "beside", "compare", "difference", "redraw_all", "verify"]


@dataclass(frozen=True)
class Report:
    """What `verify` found: one comparison for each reference."""

    comparisons: list[Comparison]

    @property
    def ok(self) -> bool:
        """Whether everything agrees everywhere."""
        return all(comparison.ok for comparison in self.comparisons)

    @property
    def worst(self) -> Row:
        """The row with the largest difference of all."""
        return max((comparison.worst for comparison in self.comparisons), key=lambda row: row.largest)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.comparisons))

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {"ok": self.ok, "comparisons": [comparison.to_json() for comparison in self.comparisons]}


def redraw_all(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every floating parameter and stored buffer anew, in place; gives the model back in eval mode.

    At its default start a model's biases are 0 and its gains 1, so that swapped norms or a lost bias pass every test.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
        leaf = name.rsplit(".", 1)[-1]
        if leaf == "running_var":
            noise = 0.5 + noise.abs()
        elif tensor.ndim <= 1:
            gain = not tensor.ndim or leaf in ("weight", "gamma")  # scales lie around one, biases around zero
            noise = 0.3 * noise + (1.0 if gain else 0.0)
        elif tensor.shape[0] == 1 or any(word in name.lower() for word in ("pos", "token", "embedding", "relative")):
            noise *= 0.5
        else:
            noise /= tensor[0].numel() ** 0.5
        tensor.copy_(noise)
    return model.eval()


def beside(
    reference: Reference,
    sizes: Sizes,
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
    batch: int = 2,
    weights: Path | None = None,
    told: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Our model beside one library's: from an official file that both sides read, or with every parameter redrawn.

    Args:
        reference, sizes: which library, and its model's sizes.
        device, seed, batch: where to run, what to draw, how many pictures.
        weights, told: the official file and what our loader is told about it; None redraws the weights.
        progress: called with a word before each step.
    """
    if weights is None:
        theirs = redraw_all(reference.build(**sizes), seed)
        ours = reference.ours(theirs, sizes)
    else:
        checkpoint = read_tensors(weights)
        theirs = reference.open(reference, checkpoint.tensors, sizes)
        ours = load_source(Source(checkpoint, dict(told or {})), "cpu", torch.float32)
    origin = "random weights" if weights is None else f"weights of {weights.name}"
    return side_by_side(reference, ours, theirs, origin, device=device, seed=seed, batch=batch, progress=progress)


def side_by_side(
    reference: Reference,
    ours: nn.Module,
    theirs: nn.Module,
    origin: str,
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
    batch: int = 2,
    progress: Progress | None = None,
) -> Comparison:
    """Both models with equal weights, whose `origin` the title tells, on the reference's inputs."""
    about: Any = ours.about
    arguments = whole_arguments(about["class"], about["arguments"])
    inputs = reference.inputs(arguments, torch.Generator().manual_seed(seed), batch)
    count = sum(parameter.numel() for parameter in ours.parameters())
    return reference.compare(
        ours.to(device),
        theirs.eval().to(device),
        {name: tensor.to(device) for name, tensor in inputs.items()},
        title=f"{reference.model} beside {reference.library}: {origin}, {count:,} parameters, {device}",
        progress=progress,
    )


def verify(
    name: str,
    size: str | None = None,
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Hold a model against every library that has it.

    Args:
        name: a system ("vit", "clip") or an official checkpoint ("openai/clip-vit-base-patch32").
        size: "tiny" or "full"; without it a system is tiny and a checkpoint full. At full size the official weights are
            used where they are in the cache, random ones elsewhere: what is proven does not depend on them.
        device: "cpu" or "cuda" (mps has no float64).
        seed: of the random weights and inputs.
        progress: called with a word before each step; None tells it on stderr at full size.

    Raises:
        UserError: an unknown name, size or device, or a model that no library has.
    """
    device = check_device(device)
    if size not in (None, "tiny", "full"):
        raise UserError(f"there is no size {size!r}; choose tiny or full")
    if name in SYSTEMS:
        chosen = [(reference, "") for reference in references(name)]
        size = size or "tiny"
        missing = f"no library has {name}; its golden cases are the proof: python -m tests.golden"
    else:
        try:
            official = hub.find(name).name
        except UserError as error:
            raise UserError(f"{error}; or verify a system: {', '.join(SYSTEMS)}") from error
        chosen = [(reference, official) for reference in all_references() if official in reference.official]
        size = size or "full"
        missing = f"no library's sizes are known for {official}; verify its system instead: {', '.join(SYSTEMS)}"
    if not chosen:
        raise UserError(missing)
    comparisons = []
    for reference, official in chosen:
        if size == "tiny":
            comparisons.append(beside(reference, reference.tiny, device=device, seed=seed, progress=progress))
        else:
            comparisons.append(full_size(reference, official, device, seed, progress or tell))
    return Report(comparisons)


def full_size(reference: Reference, official: str, device: torch.device, seed: int, progress: Progress) -> Comparison:
    """One reference at an official size (the first one where none is named), one picture."""
    official = official or next(iter(reference.official))
    entry = hub.find(official)
    files = hub.local_files(entry)
    weights = files[0] if files else None
    if weights is None:
        progress(f"{official} is not in the cache: random weights of its shapes")
    return beside(
        reference,
        reference.official[official],
        device=device,
        seed=seed,
        batch=1,
        weights=weights,
        told=entry.told,
        progress=lambda word: progress(f"{official} beside {reference.library}: {word}"),
    )


def check_device(device: str | torch.device) -> torch.device:
    """The device, if it can prove anything here.

    Raises:
        UserError: it is unknown, missing, or has no float64.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {str(device)!r} cannot be used here; choose cpu or, with a GPU, cuda") from error
    if found.type == "mps":
        raise UserError("mps has no float64, and equality is a float64 statement; verify with --device cpu")
    return found


def tell(word: str) -> None:
    """A line on stderr."""
    print(f"  {word} ...", file=sys.stderr, flush=True)
