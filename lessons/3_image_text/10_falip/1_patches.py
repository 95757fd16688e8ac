"""From a box to patches  (15 minutes, difficulty 2 of 5)

FALIP is told where to look by a box in pixels and has to say it in patches.
The picture is squashed to a square of `size` pixels, each side scaled on its
own, and cut into patches. The released code finds the patch of a corner as

    max(ceil(scaled corner / patch), 1) - 1

for all four corners. So a corner exactly on a border belongs to the patch
before it, also where a box *begins*; only 0 has no patch before it.

Hand in the first and the last row, the first and the last column.
"""

import math


# %% solution
def patches_of_box(box, height, width, size, patch):
    """box (left, top, right, bottom) -> (first row, last row, first column, last column)."""
    left, top, right, bottom = box

    def place(corner, side):
        return max(math.ceil(corner * size / side / patch), 1) - 1

    return place(top, height), place(bottom, height), place(left, width), place(right, width)


# %% check: patches of a box against a search over all patches
from lessons.checker import Mistake, Task

GRIDS = [(64, 8, 64, 64), (64, 8, 32, 128), (32, 4, 64, 16), (48, 16, 48, 96)]  # scales that are exact in float64


def cases(random):
    for size, patch, height, width in GRIDS:
        across, down = patch * width // size, patch * height // size  # a patch, in the picture's own pixels
        yield {"box": (across, down, 2 * across, 3 * down), "height": height, "width": width, "size": size,
               "patch": patch}
        yield {"box": (0, 0, width, height), "height": height, "width": width, "size": size, "patch": patch}
        for _ in range(3):
            x0, y0 = (int(random.integers(0, side // 2, 1)) for side in (width, height))
            x1, y1 = (int(random.integers(side // 2 + 1, side + 1, 1)) for side in (width, height))
            yield {"box": (x0, y0, x1, y1), "height": height, "width": width, "size": size, "patch": patch}


def reference(box, height, width, size, patch):
    """Look for the first patch that ends at the corner or behind it, in whole numbers."""

    def place(corner, side):
        return next(n for n in range(size // patch) if corner * size <= (n + 1) * patch * side)

    left, top, right, bottom = box
    return place(top, height), place(bottom, height), place(left, width), place(right, width)


def flawed(box, height, width, size, patch, start="ceil", end="ceil", order="yx", scale="each", least=1, turned=False):
    left, top, right, bottom = (box[1], box[0], box[3], box[2]) if turned else box
    longer = max(height, width)
    height, width = {"each": (height, width), "longer": (longer, longer), "swapped": (width, height),
                     "none": (size, size)}[scale]  # fmt: skip

    def place(corner, side, rule):
        at = corner * size / side / patch
        number = {"ceil": max(math.ceil(at), least) - 1, "floor": math.floor(at), "round": round(at)}[rule]
        return min(number, size // patch - 1)

    rows = place(top, height, start), place(bottom, height, end)
    columns = place(left, width, start), place(right, width, end)
    return (*rows, *columns) if order == "yx" else (*columns, *rows)


MISTAKES = [
    Mistake("the patches with a start on a border given to the patch behind it", start="floor",
            fix="ceil on all four corners, as the released code does."),
    Mistake("the patches with an end on a border given to the patch behind it", end="floor",
            fix="An end at 16 with patches of 8 lies in patch 1: ceil(16 / 8) - 1."),
    Mistake("the patches by rounding to the nearest", start="round", end="round", fix="ceil, then one less."),
    Mistake("the columns before the rows", order="xy", fix="Rows come from y: (top, bottom, left, right)."),
    Mistake("the patches with x and y of the box exchanged", turned=True, fix="A box is left, top, right, bottom."),
    Mistake("the patches scaled by the longer side alone", scale="longer",
            fix="The picture is squashed: x by size / width, y by size / height."),
    Mistake("the patches scaled by the other side", scale="swapped", fix="y goes with the height."),
    Mistake("the patches of a picture that was not resized", scale="none", fix="corner * size / side first."),
    Mistake("the patches with -1 for a corner at 0", least=0, fix="max(..., 1) before one is taken off."),
]

TASKS = [
    Task("patches_of_box", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="a search over all patches"),
]


# %% hints
HINTS = [
    ("One patch too late where a box begins on a border",
     "floor(8 / 8) is 1, and the rule says 0: take ceil(8 / 8) - 1 for the beginning too."),
    ("A row of -1", "ceil(0) is 0: at least 1 before one is taken off."),
    ("Right on square pictures only", "Width and height are scaled each by its own factor."),
]
