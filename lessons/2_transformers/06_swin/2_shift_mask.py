"""Who may see whom  (15 minutes, difficulty 4 of 5)

A map of h x w tokens was rolled up and to the left by `shift` and cut into
windows of side x side (as in 2.6.1). What came around from the other end of
the picture now shares windows with tokens it never lay beside.

Give for each window a table: True where token i may look at token j, that
is, where the two lay on the same side of the seams. The tokens that came
around are the last `shift` rows and the last `shift` columns of the rolled
map. Like `attn_mask == 0` in timm's SwinTransformerBlock.
"""

import torch
from einops import rearrange


# %% solution
def seen_together(h, w, side, shift):
    """-> bool (windows, N, N), N = side * side tokens of a window."""
    down, across = torch.arange(h) >= h - shift, torch.arange(w) >= w - shift
    part = 2 * down[:, None].long() + across
    part = rearrange(part, "(row y) (col x) -> (row col) (y x)", y=side, x=side)
    return part[:, :, None] == part[:, None, :]


# %% check: the mask of shifted windows against timm's attn_mask
from timm.models.swin_transformer import SwinTransformerBlock

from lessons.checker import Mistake, Task


def cases(random):
    for h, w, side, shift in [(4, 8, 4, 2), (6, 9, 3, 1), (10, 5, 5, 2), (4, 6, 2, 1), (5, 10, 5, 3)]:
        yield {"h": h, "w": w, "side": side, "shift": shift}


def reference(h, w, side, shift):
    block = SwinTransformerBlock(
        2, (h, w), num_heads=1, window_size=side, shift_size=shift, always_partition=True, mlp_ratio=1.0
    )
    return block.attn_mask == 0


def flawed(h, w, side, shift, row=2, column=1, cut=lambda length, side, shift: length - shift, turned=False):
    down, across = torch.arange(h) >= cut(h, side, shift), torch.arange(w) >= cut(w, side, shift)
    part = row * down[:, None].long() + column * across
    tokens = "(x y)" if turned else "(y x)"
    part = rearrange(part, f"(row y) (col x) -> (row col) {tokens}", y=side, x=side)
    return part[:, :, None] == part[:, None, :]


def unrolled(h, w, side, shift):
    down, across = torch.arange(h) >= h - shift, torch.arange(w) >= w - shift
    part = torch.roll(2 * down[:, None].long() + across, (-shift, -shift), dims=(0, 1))
    part = rearrange(part, "(row y) (col x) -> (row col) (y x)", y=side, x=side)
    return part[:, :, None] == part[:, None, :]


MISTAKES = [
    Mistake("the mask upside down: True where two tokens may not see each other",
            lambda h, w, side, shift: ~seen_together(h, w, side, shift), fix="True means: may look."),
    Mistake("a mask that lets everybody see everybody", row=0, column=0),
    Mistake("a mask for the rows alone: what came around at the right is not told apart", column=0,
            fix="2 * row + column."),
    Mistake("a mask for the columns alone: what came around at the bottom is not told apart", row=0,
            fix="2 * row + column."),
    Mistake("a mask whose part is row + column: what came around at the bottom and what came around at the right have "
            "the same number", row=1,
            fix="2 * row + column gives four different numbers."),
    Mistake("a mask cut at the wrong place: the first `shift` rows and columns instead of the last",
            cut=lambda length, side, shift: shift, fix="Rolled up and left, what came around lies at the end."),
    Mistake("a mask cut `side - shift` from the end instead of `shift`",
            cut=lambda length, side, shift: length - side + shift, fix="torch.arange(h) >= h - shift."),
    Mistake("a mask whose parts were rolled once more", unrolled,
            fix="The map has been rolled already; the parts are counted on the rolled map."),
    Mistake("a mask with the tokens of a window counted down the columns: (x y)", turned=True, fix="(y x)."),
]

TASKS = [
    Task("seen_together", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="timm's attn_mask == 0"),
]


# %% hints
HINTS = [
    ("I do not know how to begin",
     "Number the parts of the whole map first: a tensor (h, w) that says for each token which part it belongs to."),
    ("How many parts?",
     "Rows that came around or not, columns that came around or not: four. Two tokens may look at each other when "
     "their numbers are equal."),
    ("From (h, w) to (windows, N, N)",
     "Cut the numbers into windows, '(row y) (col x) -> (row col) (y x)', and compare along two new axes: `part[:, :, "
     "None] == part[:, None, :]`."),
    ("Tokens of two different parts see each other", "row + column gives two parts the same number; 2 * row + column."),
]
