"""Wrong foveas: borders of patches, the bell, where and how it is added."""

import math
from typing import Any

import torch
from einops import repeat
from torch import Tensor

from checkpoints_convert.proof.mutants import Mutant, StandIn
from minimodels import falip

MASKS, MODELS = ("mask_base16", "mask_large14"), ("clip_masked_strong",)


def patches(start: Any, *, order: bool = True, last: int = 1) -> Any:
    """`patches_of` with another rule for the first patch, the axes swapped, or the last one left out."""

    def patches_of(box: Any, picture: Any, image_size: int, patch_size: int) -> tuple[slice, slice]:
        (left, top, right, bottom), (height, width) = box, picture

        def places(near: float, far: float, size: int) -> slice:
            scale = image_size / size
            end = max(math.ceil(min(far * scale, image_size) / patch_size), 1) - 1
            begin = min(start(near * scale, patch_size), image_size // patch_size - 1)
            return slice(begin, max(min(end + last, image_size // patch_size), begin + 1))

        sizes = (height, width) if order else (width, height)
        return places(top, bottom, sizes[0]), places(left, right, sizes[1])

    return StandIn(falip, "patches_of", patches_of)


def ceiled(at: float, patch: int) -> int:
    return max(math.ceil(at / patch), 1) - 1


def bell(
    *, centre: float = 1.0, tiny: float = 1e-6, stretch: bool = True, square: bool = True, half: float = 0.5
) -> Any:
    """`fovea` with one thing wrong."""

    def fovea(rows: int, columns: int, alpha: float = 0.2, sigma: float = 100.0) -> Tensor:
        y = torch.arange(rows, dtype=torch.float64) - (rows - centre) / 2
        x = torch.arange(columns, dtype=torch.float64) - (columns - centre) / 2
        distance = (y[:, None] ** 2 + x**2).sqrt() if square else y[:, None].abs() + x.abs()
        raw = (-half * (distance / sigma) ** 2).exp()
        return (raw - raw.min() + tiny) / (raw.max() - raw.min() + tiny) * alpha if stretch else raw * alpha

    return StandIn(falip, "fovea", fovea)


def flat(rows: int, columns: int, alpha: float = 0.2, sigma: float = 100.0) -> Tensor:
    return torch.full((rows, columns), alpha, dtype=torch.float64)


def no_bonus(masks: Tensor, num_heads: int, head: int | None) -> Tensor:
    return repeat(masks * 0, "b n -> b heads n", heads=num_heads)


def first_head_alone(masks: Tensor, num_heads: int, head: int | None) -> Tensor:
    return repeat(masks, "b n -> b heads n", heads=num_heads) * (torch.arange(num_heads) == 0)[:, None]


def scaled_bonus(masks: Tensor, num_heads: int, head: int | None) -> Tensor:
    """Added before the scores are divided by sqrt(d)."""
    return repeat(masks, "b n -> b heads n", heads=num_heads) * 64**-0.5


def first_block(number: int) -> StandIn:
    """The mask begins at another block."""

    def start(self: Any, clip: Any, first_block: int = number) -> None:
        torch.nn.Module.__init__(self)
        self.clip, self.first_block = clip, first_block

    return StandIn(falip.FoveatedCLIP, "__init__", start)


MUTANTS = [
    Mutant("a start on a border belongs to the next patch", patches(lambda at, p: int(at // p)), cases=MASKS[:1]),
    Mutant("width taken for height", patches(ceiled, order=False), cases=MASKS),
    Mutant("the last row and column left out", patches(ceiled, last=0), cases=MASKS),
    Mutant("one patch more", patches(ceiled, last=2), cases=MASKS[:1]),
    Mutant("the middle half a patch further", bell(centre=0.0), cases=MASKS),
    Mutant("no 1e-6", bell(tiny=1e-12), cases=MASKS),
    Mutant("the bell is not stretched", bell(stretch=False), cases=MASKS),
    Mutant("distance along the axes", bell(square=False), cases=MASKS),
    Mutant("the bell without its half", bell(half=1.0), cases=MASKS),
    Mutant("every patch alike", StandIn(falip, "fovea", flat), cases=MASKS),
    Mutant("no bonus", StandIn(falip, "bonus", no_bonus), cases=MODELS),
    Mutant("the first head alone", StandIn(falip, "bonus", first_head_alone), cases=MODELS),
    Mutant("the bonus is scaled", StandIn(falip, "bonus", scaled_bonus), cases=MODELS),
    Mutant("masked from block 7 on", first_block(7), cases=MODELS),
    Mutant("masked in the last block alone", first_block(9), cases=MODELS),
    Mutant("nothing subtracted", StandIn(falip, "subtract", lambda scores, bank: scores), cases=MODELS),
    Mutant(
        "the bank's best subtracted",
        StandIn(falip, "subtract", lambda scores, bank: scores - bank.amax(dim=0)),
        cases=MODELS,
    ),
]
