"""Enlarge a map, corner on corner  (20 minutes, difficulty 4 of 5)

The decoder enlarges its coarse map bilinearly with align_corners=True: the
first pixel of the large map lies on the first of the small one, the last on
the last, and the others at equal steps between. A place between pixels is a
weighted mean of its neighbours, first along one axis, then along the other.
Write it without torch's own interpolation. An axis of the small map may
have a single pixel (it is repeated), an axis of the large one too (it takes
the first).
"""

import torch


# %% solution
def enlarge(x, height, width):
    """x (B, C, h, w), two whole numbers -> (B, C, height, width)."""
    def matrix(old, new):
        place = torch.linspace(0, old - 1, new, dtype=x.dtype)
        distance = (place[:, None] - torch.arange(old, dtype=x.dtype)).abs()
        return (1 - distance).clamp(min=0)  # (new, old)

    return matrix(x.shape[2], height) @ x @ matrix(x.shape[3], width).T


# %% check: bilinear enlarging against torch.nn.functional.interpolate with align_corners
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, channels, h, w, height, width in [(2, 3, 3, 4, 6, 8), (1, 2, 2, 3, 5, 5), (2, 1, 4, 1, 7, 3)]:
        yield {"x": random(batch, channels, h, w), "height": height, "width": width}


def reference(x, height, width):
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)


def flawed(x, height, width, mode="bilinear", corners=True, turn=False, flip=False, once="both"):
    size = {"both": (height, width), "rows": (height, x.shape[3]), "columns": (x.shape[2], width)}[once]
    align = {} if mode in ("nearest", "area") else {"align_corners": corners}
    found = F.interpolate(x.flip(-1) if flip else x, size=size, mode=mode, **align)
    if once != "both":
        found = F.interpolate(found, size=(height, width), mode="nearest")
    return found.flip(-2) if turn else found


MISTAKES = [
    Mistake("align_corners=False: pixels seen as squares whose borders lie on each other", corners=False,
            fix="Place i * (h - 1) / (height - 1), so that the last pixel lies on the last."),
    Mistake("the nearest pixel, not a mean of neighbours", mode="nearest"),
    Mistake("bicubic enlarging", mode="bicubic", fix="Two neighbours along each axis."),
    Mistake("bicubic enlarging with align_corners=False", mode="bicubic", corners=False),
    Mistake("averages over areas", mode="area"),
    Mistake("the enlarged map upside down", turn=True),
    Mistake("the enlarged map mirrored", flip=True),
    Mistake("rows enlarged smoothly, columns repeated", once="rows", fix="Both axes alike."),
    Mistake("columns enlarged smoothly, rows repeated", once="columns", fix="Both axes alike."),
]

TASKS = [
    Task("enlarge", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("x",),
         like="interpolate(mode='bilinear', align_corners=True)", forbidden=("interpolate", "upsample", "grid_sample")),
]


# %% hints
HINTS = [
    ("Where to begin",
     "One axis first. Pixel i of `height` lies at place i * (h - 1) / (height - 1) of the small map: "
     "`torch.linspace(0, h - 1, height)`."),
    ("From a place to a value",
     "low = floor(place), high = low + 1 (at most h - 1), share = place - low: (1 - share) * x[low] + share * "
     "x[high]."),
    ("The same for both axes",
     "It is a matrix: W (height, h) with two numbers a row, then `W_rows @ x @ W_columns.T`."),
]
