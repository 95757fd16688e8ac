"""The fovea  (15 minutes, difficulty 2 of 5)

The bonus of a box of rows x columns patches. Take the distance of every patch
from the middle of the box, in patches, and from it a bell:

    bell = exp(-0.5 * (distance / sigma) ** 2)

With sigma = 100 all of these lie above 0.98. They are stretched, so that the
middle gets alpha and the corners nearly nothing:

    mask = (bell - min + 1e-6) / (max - min + 1e-6) * alpha

Hand in `{"bell": (rows, columns), "mask": (rows, columns)}`.
"""

import torch


# %% solution
def fovea(rows, columns, alpha, sigma):
    """rows, columns, alpha, sigma -> dict with bell and mask, both (rows, columns) float64."""
    y = torch.arange(rows, dtype=torch.float64) - (rows - 1) / 2
    x = torch.arange(columns, dtype=torch.float64) - (columns - 1) / 2
    bell = torch.exp(-0.5 * (y[:, None] ** 2 + x**2) / sigma**2)
    low, high = bell.min(), bell.max()
    return {"bell": bell, "mask": (bell - low + 1e-6) / (high - low + 1e-6) * alpha}


# %% check: the fovea against a loop over patches
import math

from lessons.checker import Mistake, Task


def cases(random):
    for rows, columns, alpha, sigma in [(3, 3, 0.2, 100.0), (2, 5, 1.5, 100.0), (4, 7, 6.0, 3.0), (1, 1, 0.2, 100.0),
                                        (2, 2, 0.5, 10.0), (5, 2, 2.0, 1.5)]:  # fmt: skip
        yield {"rows": rows, "columns": columns, "alpha": alpha, "sigma": sigma}


def reference(rows, columns, alpha, sigma):
    bell = [[math.exp(-0.5 * (math.hypot(2 * y - rows + 1, 2 * x - columns + 1) / (2 * sigma)) ** 2)
             for x in range(columns)] for y in range(rows)]  # fmt: skip
    low, high = min(map(min, bell)), max(map(max, bell))
    mask = [[(value - low + 1e-6) / (high - low + 1e-6) * alpha for value in row] for row in bell]
    return {"bell": torch.tensor(bell, dtype=torch.float64), "mask": torch.tensor(mask, dtype=torch.float64)}


def flawed(rows, columns, alpha, sigma, half=0.5, middle=1, tiny=1e-6, square=True, stretch="both", turned=False,
           norm="pythagoras"):  # fmt: skip
    y = torch.arange(rows, dtype=torch.float64) - (rows - middle) / 2
    x = torch.arange(columns, dtype=torch.float64) - (columns - middle) / 2
    distance = {"pythagoras": (y[:, None] ** 2 + x**2).sqrt(), "sum": y[:, None].abs() + x.abs(),
                "widest": torch.maximum(y[:, None].abs(), x.abs().expand(rows, columns))}[norm]  # fmt: skip
    scaled = distance / sigma
    bell = torch.exp(-half * (scaled**2 if square else scaled))
    low, high = bell.min(), bell.max()
    mask = {"both": (bell - low + tiny) / (high - low + tiny), "none": bell, "max": bell / high,
            "bottom": (bell - low) / (high - low + tiny)}[stretch] * alpha  # fmt: skip
    bell, mask = (bell.T, mask.T) if turned else (bell, mask)
    return {"bell": bell, "mask": mask}


MISTAKES = [
    Mistake("the bell without its half", half=1.0, fix="exp(-0.5 * (distance / sigma) ** 2)."),
    Mistake("the bell about a place half a patch further", middle=0, fix="The middle of n patches is (n - 1) / 2."),
    Mistake("a tent: the distance not squared", square=False, fix="(distance / sigma) ** 2."),
    Mistake("the bell of the distance along the axes", norm="sum", fix="sqrt(y * y + x * x)."),
    Mistake("the bell of the larger of both distances", norm="widest", fix="sqrt(y * y + x * x)."),
    Mistake("the mask not stretched", stretch="none", fix="Subtract the smallest value, divide by the range."),
    Mistake("the mask divided by its largest value only", stretch="max", fix="Subtract the smallest value first."),
    Mistake("the mask with 1e-6 below the line only: a box of one patch gets nothing", stretch="bottom",
            fix="1e-6 is added above and below the line."),
    Mistake("the mask with rows and columns exchanged", turned=True, fix="y[:, None] and x: rows first."),
]

TASKS = [
    Task("fovea", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="a loop over the patches"),
]


# %% hints
HINTS = [
    ("The corners are hardly smaller than the middle", "That is the bell alone. The stretching makes the shape."),
    ("A box of one patch gets 0 or nan", "Its range is 0. With 1e-6 above and below the line it gets alpha."),
    ("The middle of an even box", "With 4 rows it lies between rows 1 and 2: (4 - 1) / 2 = 1.5."),
]
