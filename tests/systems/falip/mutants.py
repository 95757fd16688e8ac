"""Wrong foveas: borders of patches, the bell, where and how it is added."""

import math
from typing import Any

import torch
import torch.nn.functional as F
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


ROW = falip.FoveatedCLIP.bonus


def bonus(change: Any) -> StandIn:
    """`FoveatedCLIP.bonus`, (B, heads, 1, 1 + N), changed."""
    return StandIn(falip.FoveatedCLIP, "bonus", lambda self, masks, x: change(ROW(self, masks, x)))


def first_head_alone(added: Tensor) -> Tensor:
    return torch.cat([added[:, :1], torch.zeros_like(added[:, 1:])], dim=1)


def first_block(number: int) -> StandIn:
    """The mask begins at another block."""
    return StandIn(falip, "first_masked_block", lambda depth: number)


def foveate(*, rows: str = "class", keys: str = "all") -> StandIn:
    """`foveate` whose bonus goes elsewhere, or whose patches see something else."""

    def wrong(block: Any, x: Tensor, added: Tensor, *, patches: bool) -> Tensor:
        x = x.expand(len(added), -1, -1)
        q, k, v = block.attn.split_heads(block.norm1(x))
        full = added.new_zeros(len(added), q.shape[1], x.shape[1], x.shape[1])
        if rows == "every":
            full = full + added
        elif rows == "column":
            full[..., 0] = added[:, :, 0]
        else:
            full[:, :, 0] = added[:, :, 0]
        if keys == "patches alone":
            full[:, :, 1:, 0] = -torch.inf
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=full)
        made = falip.finish(block, x, mixed)
        if keys == "not passed on":
            made = torch.cat([made[:, :1], x[:, 1:]], dim=1)
        return made if patches else made[:, :1]

    return StandIn(falip, "foveate", wrong)


def in_pieces(wrong: Any) -> StandIn:
    """`encode_image` whose pieces of boxes are put together wrongly; the pieces are of one box."""

    def encode_image(self: Any, image: Tensor, masks: Tensor) -> Tensor:
        tower, x = self.clip.image_tower, self.before(image)
        parts = []
        for some in self.bonus(masks, x).split(1):
            parts.append(falip.foveate(tower.blocks[-1], self.until_last(x, some), some, patches=False))
        return tower.proj(tower.norm_post(torch.cat(wrong(parts))[:, 0]))

    return StandIn(falip.FoveatedCLIP, "encode_image", encode_image)


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
    Mutant("no bonus", bonus(lambda added: added * 0), cases=MODELS),
    Mutant("the first head alone", bonus(first_head_alone), cases=MODELS),
    Mutant("the bonus is scaled", bonus(lambda added: added * 64**-0.5), cases=MODELS),
    Mutant("every box has the first one's bonus", bonus(lambda added: added[:1].expand_as(added)), cases=MODELS),
    Mutant("heads share one bonus among them", bonus(lambda added: added / added.shape[1]), cases=MODELS),
    Mutant("every token has the bonus", foveate(rows="every"), cases=MODELS),
    Mutant("the class token's column has it, not its row", foveate(rows="column"), cases=MODELS),
    Mutant("patches do not see the class token", foveate(keys="patches alone"), cases=MODELS),
    Mutant("patches stay as they were", foveate(keys="not passed on"), cases=MODELS),
    Mutant("pieces of boxes in the wrong order", in_pieces(lambda parts: parts[::-1]), cases=MODELS),
    Mutant("the first piece of boxes for all", in_pieces(lambda parts: parts[:1] * len(parts)), cases=MODELS),
    Mutant("masked from block 7 on", first_block(7), cases=MODELS),
    Mutant("masked in the last block alone", first_block(9), cases=MODELS),
    Mutant("nothing subtracted", StandIn(falip, "subtract", lambda scores, bank: scores), cases=MODELS),
    Mutant(
        "the bank's best subtracted",
        StandIn(falip, "subtract", lambda scores, bank: scores - bank.amax(dim=0)),
        cases=MODELS,
    ),
]
