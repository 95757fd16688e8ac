"""Wrong Swins, of both flavours: windows, shift, mask, relative bias, merging."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Change, Mutant, StandIn, each, forget, methods, swap
from checkpoints_convert.proof.mutants import blocks as wrong
from checkpoints_convert.proof.references import Trial
from checkpoints_convert.proof.references.swin import timm_pairs
from minimodels import swin
from minimodels.swin import AxisBlock, FittedBlock, PatchMerging, Swin, SwinBackbone, SwinBlock, WindowAttention

# ---------------------------------------------------------------- windows


def look(
    block: Any,
    x: Tensor,
    *,
    roll: int = -1,
    back: int = 1,
    pad: str = "after the norm",
    seen: str = "region",
    shift: int | None = None,
    window: int | None = None,
    cut: str = "row by row",
) -> Tensor:
    """`SwinBlock.look_around` spelled out, with one thing changed; with nothing changed it is right."""
    h, w, side = x.shape[1], x.shape[2], window or block.window_size
    shift = block.shift_here(h, w) if shift is None else shift
    if pad != "after the roll":
        x = swin.pad_to_multiple(x, side)
    if pad == "left and top":
        x = torch.roll(x, (x.shape[1] - h, x.shape[2] - w), dims=(1, 2))
    x = torch.roll(x, (roll * shift, roll * shift), dims=(1, 2))
    x = swin.pad_to_multiple(x, side)
    high, wide = x.shape[1:3]
    mask = swin.same_region(high, wide, side, shift, x.device) if shift and seen == "region" else None
    if seen == "no padding":
        mask = without_padding(mask, (h, w), (high, wide), side, shift, x)
    if cut == "column by column":
        x = rearrange(x, "b (row y) (col x) d -> (b row col) (x y) d", y=side, x=side)
        x = rearrange(block.attn(x, mask), "n (x y) d -> n (y x) d", x=side)
    else:
        x = block.attn(swin.split_windows(x, side), mask)
    x = swin.join_windows(x, side, high, wide)
    if pad == "after the roll":
        x = x[:, :h, :w]
    x = torch.roll(x, (back * shift, back * shift), dims=(1, 2))
    if pad == "left and top":
        x = torch.roll(x, (h - high, w - wide), dims=(1, 2))
    return x[:, :h, :w]


def without_padding(
    mask: Tensor | None, size: tuple[int, int], padded: tuple[int, int], side: int, shift: int, like: Tensor
) -> Tensor:
    """Who may see whom where padded tokens are not seen, as a careful person would have it."""
    real = F.pad(like.new_ones(1, *size, 1), (0, 0, 0, padded[1] - size[1], 0, padded[0] - size[0]))
    real = swin.split_windows(torch.roll(real, (-shift, -shift), dims=(1, 2)), side)[:, None, :, 0].bool()
    alone = torch.eye(side * side, dtype=torch.bool, device=like.device)
    return real | alone if mask is None else mask & real | alone


def looking(**changed: Any) -> Change:
    """Every block looks around in another way."""
    return methods(SwinBlock, look_around=lambda block, x: look(block, x, **changed))


def look_shrunk(block: Any, x: Tensor) -> Tensor:
    """The window shrinks to a small map, and its index with it: what many a port does."""
    side = min(*x.shape[1:3], block.window_size)
    if side == block.window_size:
        return look(block, x)
    index, whole = swin.relative_position_index(side).to(x.device), block.window_size
    rows = index // (2 * side - 1) - side + whole
    columns = index % (2 * side - 1) - side + whole
    block.attn.bias = lambda windows, seen: rearrange(
        block.attn.relative_bias_table[rows * (2 * whole - 1) + columns], "i j n -> 1 n i j"
    )
    found = look(block, x, window=side, shift=0)
    del block.attn.bias
    return found


def fits_not_shifted(block: Any, h: int, w: int) -> int:
    """No shift where the map fits into one window, the classifier's rule."""
    return 0 if min(h, w) <= block.window_size else block.shift


def even_blocks_shifted(block: Any) -> None:
    """The shift in the other half of the blocks."""
    block.shift = 0 if block.shift else block.window_size // 2


def region_of_rows(h: int, w: int, side: int, shift: int, device: Any = None) -> Tensor:
    """What came around at the bottom is told apart, what came around at the right is not."""
    region = repeat((torch.arange(h, device=device) >= h - shift).long(), "h -> h w", w=w)
    region = rearrange(region, "(row y) (col x) -> (row col) (y x)", y=side, x=side)
    return region[:, :, None] == region[:, None, :]


# ---------------------------------------------------------------- attention and merging


def no_scale(attention: Any, x: Tensor, seen: Tensor | None = None) -> Tensor:
    """Scores without 1/sqrt(head_dim)."""
    q, k, v = attention.split_heads(x)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attention.bias(len(x), seen), scale=1.0)
    return attention.out_proj(rearrange(mixed, "windows heads n d -> windows n (heads d)"))


def heads_in_turn(attention: Any, x: Tensor) -> Tensor:
    """Channels dealt out to the heads in turn instead of in blocks."""
    heads = attention.num_heads
    return rearrange(attention.qkv(x), "b n (three d heads) -> three b heads n d", three=3, heads=heads)


def bias_scaled(attention: Any) -> None:
    """The relative bias added before the scale."""
    attention.relative_bias_table = nn.Parameter(attention.relative_bias_table.detach() * attention.head_dim**-0.5)


def x_before_y(attention: Any) -> None:
    """The table's index without its rows."""
    attention.index = attention.index % round(len(attention.relative_bias_table) ** 0.5)


def merging(pattern: str) -> Change:
    """Four neighbours put together in another order."""

    def forward(merge: Any, x: Tensor) -> Tensor:
        x = rearrange(swin.pad_to_multiple(x, 2), pattern, row=2, col=2)
        return merge.reduction(merge.norm(x))

    return methods(PatchMerging, forward=forward)


def pooled_first(model: Any, image: Tensor) -> Tensor:
    """The mean before the last norm."""
    return model.norm(SwinBackbone.forward(model, image)[-1].mean(dim=(1, 2), keepdim=True))


RIGHT_BEFORE_DOWN = merging("b (h row) (w col) d -> b h w (row col d)")
CHANGES: dict[str, Change | StandIn] = {
    "no shift mask": looking(seen="all"),
    "shifted the other way": looking(roll=1, back=-1),
    "not shifted back": looking(back=0),
    "never shifted": looking(shift=0),
    "even blocks shifted": each(SwinBlock, even_blocks_shifted),
    "windows read column by column": looking(cut="column by column"),
    "rows masked, columns not": StandIn(swin, "same_region", region_of_rows),
    "bias index transposed": each(WindowAttention, lambda attention: setattr(attention, "index", attention.index.T)),
    "bias index with x before y": each(WindowAttention, x_before_y),
    "no relative bias": each(WindowAttention, lambda attention: attention.relative_bias_table.data.zero_()),
    "bias scaled with the scores": each(WindowAttention, bias_scaled),
    "no scale": methods(WindowAttention, forward=no_scale),
    "heads dealt in turn": methods(WindowAttention, split_heads=heads_in_turn),
    "merged right before down": RIGHT_BEFORE_DOWN,
    "merged channel by channel": merging("b (h row) (w col) d -> b h w (d col row)"),
    "eps 1e-6": wrong.epsilon(1e-6),
    "eps 1e-6 in the merges": each(PatchMerging, lambda merge: setattr(merge.norm, "eps", 1e-6)),
    "norms swapped": each(SwinBlock, swap("norm1", "norm2")),
    "tanh GELU": wrong.activation(wrong.tanh_gelu),
    "no norm behind the patches": forget("patch_norm"),
}
BACKBONE_CHANGES: dict[str, Change] = {
    "window shrunk on small maps": methods(SwinBlock, look_around=look_shrunk),
    "no shift where the map fits": methods(SwinBlock, shift_here=fits_not_shifted),
    "padding masked": looking(seen="no padding"),
    "padded after the roll": looking(pad="after the roll"),
    "padded at the left and top": looking(pad="left and top"),
    "maps without their norms": lambda model: setattr(
        model, "norms", nn.ModuleList(nn.Identity() for _ in model.norms)
    ),
}
CLASSIFIER_CHANGES: dict[str, Change] = {
    "shifted where the map fits": methods(FittedBlock, shift_here=SwinBlock.shift_here),
    "pooled before the norm": methods(Swin, encode=pooled_first),
}


def look_each(block: Any, x: Tensor, *, padded_first: bool = False, masked: bool = True) -> Tensor:
    """`AxisBlock.look_around` spelled out, with one thing changed."""
    h, w, side, (down, across) = x.shape[1], x.shape[2], block.window_size, block.shifts
    x = swin.pad_to_multiple(x, side) if padded_first else x
    x = swin.pad_to_multiple(torch.roll(x, (-down, -across), dims=(1, 2)), side)
    high, wide = x.shape[1:3]
    mask = swin.same_region(high, wide, side, (down, across), x.device) if masked and (down or across) else None
    x = swin.join_windows(block.attn(swin.split_windows(x, side), mask), side, high, wide)
    x = x if padded_first else x[:, :h, :w]
    return torch.roll(x, (down, across), dims=(1, 2))[:, :h, :w]


def shifts(down: Callable[[Any], int], across: Callable[[Any], int]) -> Change:
    """Other shifts in every block of timm's rule."""
    return each(AxisBlock, lambda block: setattr(block, "shifts", (down(block), across(block))))


def first(block: Any) -> int:
    return block.shifts[0]


def second(block: Any) -> int:
    return block.shifts[1]


def smaller(block: Any) -> int:
    return min(block.shifts)


def larger(block: Any) -> int:
    return max(block.shifts)


TIMM_CHANGES: dict[str, Change] = {
    "the smaller axis decides": shifts(smaller, smaller),
    "the larger axis decides": shifts(larger, larger),
    "axes swapped": shifts(second, first),
    "padded before the roll": methods(AxisBlock, look_around=lambda block, x: look_each(block, x, padded_first=True)),
    "no mask": methods(AxisBlock, look_around=lambda block, x: look_each(block, x, masked=False)),
}
OBLONG = Trial({"img_size": (28, 16), "depths": (2, 2), "num_heads": (3, 2)}, pairs=timm_pairs(2))
BACKBONE, CLASSIFIER = ("Swin backbone", "transformers"), ("Swin", "transformers")
MUTANTS = [
    *(Mutant(f"backbone: {name}", change, BACKBONE) for name, change in {**CHANGES, **BACKBONE_CHANGES}.items()),
    *(Mutant(f"classifier: {name}", change, CLASSIFIER) for name, change in {**CHANGES, **CLASSIFIER_CHANGES}.items()),
    *(Mutant(f"timm's rule: {name}", change, ("Swin", "timm"), OBLONG) for name, change in TIMM_CHANGES.items()),
]
