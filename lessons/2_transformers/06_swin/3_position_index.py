"""The index of relative positions  (15 minutes, difficulty 3 of 5)

In a window of side x side tokens the way from token b to token a is
(ya - yb, xa - xb), each between -(side-1) and side-1. A table has one row
for each possible way, ordered by the way down first, then by the way to the
right. For each pair (a, b), give the number of its row, counted from 0.

Like `get_relative_position_index` of timm's swin_transformer.py, and like
the buffer `relative_position_index` in every official Swin file.
"""

import torch


# %% solution
def relative_position_index(side):
    """-> integers (N, N), N = side * side; entry [a, b] is between 0 and (2 side - 1)^2 - 1."""
    y = torch.arange(side).repeat_interleave(side)  # (N,) 0 0 0 1 1 1 2 2 2
    x = torch.arange(side).repeat(side)  # (N,) 0 1 2 0 1 2 0 1 2
    down = y[:, None] - y[None, :] + side - 1
    right = x[:, None] - x[None, :] + side - 1
    return down * (2 * side - 1) + right


# %% check: the index of relative positions against timm's
from timm.models.swin_transformer import get_relative_position_index

from lessons.checker import Mistake, Task


def cases(random):
    for side in (2, 3, 5, 7):
        yield {"side": side}


def flawed(side, stride=lambda side: 2 * side - 1, start=lambda side: side - 1, turned=False, swapped=False, size=None):
    y, x = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
    y, x = (x, y) if swapped else (y, x)
    down, right = y[:, None] - y + start(side), x[:, None] - x + start(side)
    if size is not None:
        down, right = size(y[:, None] - y), size(x[:, None] - x)
    index = down * stride(side) + right
    return index.T if turned else index


MISTAKES = [
    Mistake("the index of the way from a to b instead of from b to a: the transposed one", turned=True,
            fix="ya - yb: the row's token minus the column's."),
    Mistake("the index with the way to the right first", swapped=True, fix="down * (2 side - 1) + right."),
    Mistake("the index without the start at 0: ways of -(side-1) to side-1 give negative numbers, and negative rows "
            "are read from the end of the table", start=lambda side: 0,
            fix="Add side - 1 to both ways."),
    Mistake("the index with the way down times `side`: several ways share a row", stride=lambda side: side,
            fix="A way to the right has 2 side - 1 values."),
    Mistake("the index with the way down times `2 side`: rows of the table are skipped", stride=lambda side: 2 * side,
            fix="A way to the right has 2 side - 1 values."),
    Mistake("the sum of both ways: down and right cannot be told apart", stride=lambda side: 1,
            fix="down * (2 side - 1) + right."),
    Mistake("the index of the distance: left and right, up and down cannot be told apart", size=torch.abs,
            fix="Keep the sign, and add side - 1."),
]

TASKS = [
    Task("relative_position_index", cases, reference=lambda side: get_relative_position_index(side, side),
         flawed=flawed, mistakes=MISTAKES, like="timm's get_relative_position_index",
         forbidden=("get_relative_position_index",)),
]


# %% hints
HINTS = [
    ("I do not know how to begin",
     "Write down y and x of all N tokens, row by row: y is 0 0 0 1 1 1 ..., x is 0 1 2 0 1 2 ..."),
    ("All pairs at once", "`y[:, None] - y[None, :]` has a in its rows and b in its columns."),
    ("There are negative numbers", "Ways begin at -(side-1): add side-1, and they begin at 0."),
    ("Two different ways have the same number",
     "There are 2 side - 1 ways to the right for each way down, so multiply the way down by 2 side - 1."),
]
