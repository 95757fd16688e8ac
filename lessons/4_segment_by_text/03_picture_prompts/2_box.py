"""The box to cut out  (15 minutes, difficulty 2 of 5)

The most useful picture prompt is the object cut out with some context. Find
the smallest box around the True pixels, enlarge it on each side by
`context` times its OWN width (left and right) or height (top and bottom),
round towards zero, and keep it inside the picture. Ends are exclusive: a
box of one pixel at column 3 is (3, 4). Return whole numbers.

The paper's released code limits x by the picture's height and y by its
width. That is the same on square pictures and wrong on all others: do it
right.
"""

import torch


# %% solution
def crop_box(mask, context):
    """mask (H, W) bool with at least one True, context a number -> (left, right, top, bottom)."""
    rows, columns = torch.where(mask)
    box = []
    for places, size in ((columns, mask.shape[1]), (rows, mask.shape[0])):
        low, high = int(places.min()), int(places.max()) + 1
        margin = context * (high - low)
        box += [int(max(0, low - margin)), int(min(size, high + margin))]
    return tuple(box)


# %% check: boxes against a search pixel by pixel
from lessons.checker import Mistake, Task


def cases(random):
    for height, width, box, context in [
        (20, 30, (8, 15, 5, 9), 0.25),
        (24, 12, (3, 9, 2, 14), 0.5),
        (12, 25, (20, 24, 3, 10), 0.3),
        (10, 10, (4, 5, 6, 7), 0.0),
        (30, 18, (2, 13, 11, 16), 0.1),
    ]:
        mask = torch.zeros(height, width, dtype=torch.bool)
        left, right, top, bottom = box
        mask[top:bottom, left:right] = random(bottom - top, right - left) > 0
        mask[top, left] = mask[bottom - 1, right - 1] = True
        yield {"mask": mask, "context": context}


def reference(mask, context):
    height, width = mask.shape
    columns = [x for x in range(width) if any(bool(mask[y, x]) for y in range(height))]
    rows = [y for y in range(height) if any(bool(mask[y, x]) for x in range(width))]
    ends = []
    for places, size in ((columns, width), (rows, height)):
        span = places[-1] - places[0] + 1
        low, high = places[0] - context * span, places[-1] + 1 + context * span
        ends += [int(low) if low > 0 else 0, int(high) if high < size else size]
    return tuple(ends)


def flawed(
    mask, context, swap=False, end=1, share=1.0, side="own", limit="own", order="x", rounding=int, clip=True, grow=True
):
    rows, columns = torch.where(mask)
    height, width = mask.shape
    spans = [int(places.max()) - int(places.min()) + 1 for places in (columns, rows)]
    box = []
    for axis, places in enumerate((columns, rows)):
        size = (height, width)[axis] if limit == "swapped" else (width, height)[axis]
        low, high = int(places.min()), int(places.max()) + end
        span = {"own": spans[axis], "other": spans[1 - axis], "larger": max(spans)}[side]
        margin = share * context * span if grow else 0
        low, high = low - margin, high + margin
        low, high = (max(0, low), min(size, high)) if clip else (low, high)
        box += [rounding(low), rounding(high)]
    return (*box[2:], *box[:2]) if order == "y" else tuple(box)


MISTAKES = [
    Mistake("the box with inclusive ends", end=0, fix="max() + 1."),
    Mistake("the box of the released code: x limited by the height and y by the width", limit="swapped",
            fix="mask.shape is (height, width)."),
    Mistake("the box that begins with the rows", order="y", fix="(left, right, top, bottom)."),
    Mistake("the box without context", grow=False),
    Mistake("the box with half of the context on each side", share=0.5,
            fix="The whole context on each of the two sides."),
    Mistake("the box whose margin comes from the larger side", side="larger",
            fix="Left and right go by the box's width, top and bottom by its height."),
    Mistake("the box with the margins of width and height swapped", side="other"),
    Mistake("the box that leaves the picture", clip=False, fix="Limit it to 0 and the picture's size."),
    Mistake("the box rounded to the nearest whole number", rounding=round, fix="int(...)."),
]

TASKS = [
    Task("crop_box", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="a search pixel by pixel"),
]


# %% hints
HINTS = [
    ("Where to begin", "`rows, columns = torch.where(mask)`; min() and max() of each, and + 1 for the exclusive end."),
    ("Off by one", "The width is right - left with right exclusive: a box of one pixel has the width 1."),
    ("Wrong at the border",
     "Limit first, round then: `int(max(0, left - margin))`, `int(min(width, right + margin))`."),
]
