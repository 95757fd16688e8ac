"""Windows  (10 minutes, difficulty 2 of 5)

Cut a map of tokens into windows of side x side tokens: windows row by row,
the tokens inside a window row by row, the windows of one picture together.
Like `window_partition` of timm's swin_transformer.py, with the tokens of a
window in one axis.
"""

import torch
from einops import rearrange


# %% solution
def split_windows(x, side):
    """x (B, h, w, D), h and w multiples of side -> windows (B * h/side * w/side, side * side, D)."""
    return rearrange(x, "b (row y) (col x) d -> (b row col) (y x) d", y=side, x=side)


# %% check: windows against timm's window_partition
from timm.models.swin_transformer import window_partition

from lessons.checker import Mistake, Task


def cases(random):
    for batch, h, w, dim, side in [(2, 4, 6, 3, 2), (3, 3, 9, 2, 3), (2, 8, 4, 2, 4), (2, 2, 3, 4, 1)]:
        yield {"x": random(batch, h, w, dim), "side": side}


def flawed(x, side, windows="(b row col)", tokens="(y x)", rows="(row y)", columns="(col x)"):
    axes = {"y": side, "x": side}
    return rearrange(x, f"b {rows} {columns} d -> {windows} {tokens} d", **axes)


MISTAKES = [
    Mistake("a plain reshape: the tokens are read on along whole rows of the map",
            lambda x, side: x.reshape(-1, side * side, x.shape[-1]),
            fix="Cut both axes, '(row y)' and '(col x)', and move them."),
    Mistake("the right windows counted down the columns: (col row)", windows="(b col row)",
            fix="(b row col): along a row of windows first."),
    Mistake("windows with their tokens counted down the columns: (x y)", tokens="(x y)",
            fix="(y x): along a row first."),
    Mistake("the right windows with the pictures of the batch mixed: (row col b)", windows="(row col b)",
            fix="(b row col): the windows of one picture together."),
    Mistake("windows of far apart tokens: (y row) and (x col) take every so many rows instead of neighbours",
            rows="(y row)", columns="(x col)", fix="(row y): row counts windows, y the tokens in one."),
    Mistake("the right windows with their tokens still in a square: (windows, side, side, D)", tokens="y x",
            fix="One axis for the tokens of a window: (y x)."),
    Mistake("the right windows with an axis of their own for the pictures: (B, windows, N, D)", windows="b (row col)",
            fix="Pictures and windows share the first axis: (b row col)."),
]

TASKS = [
    Task("split_windows", cases, reference=lambda x, side: window_partition(x, (side, side)).flatten(1, 2),
         flawed=flawed, mistakes=MISTAKES, gradients=("x",), like="timm's window_partition",
         forbidden=("window_partition",)),
]


# %% hints
HINTS = [
    ("I do not know how to begin", "It is patchify once more: h is `(row y)`, rows of windows and rows inside one."),
    ("The shape is right, the numbers are mixed up", "A plain reshape reads along whole rows of the map."),
    ("Right for one picture, wrong for two", "All windows of the first picture come first: (b row col)."),
    ("Right for square maps only", "Windows are counted along a row first: (row col), col fast."),
]
