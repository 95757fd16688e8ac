"""A place as waves  (10 minutes, difficulty 2 of 5)

A click is a pixel, (x, y), counted from 0. Its token is made of waves: shift
it to the middle of the pixel, divide by the side of the padded square, so that
it lies between 0 and 1, stretch that to -1 ... 1, multiply with a matrix of
random frequencies, times 2 pi, and take the sines, then the cosines (SAM's
`PositionEmbeddingRandom`; Tancik et al. 2020).
"""

import math

import torch


# %% solution
def encode_points(points, frequencies, side):
    """points (N, 2), frequencies (2, C / 2), side of the square in pixels -> (N, C), sines before cosines."""
    places = 2 * (points + 0.5) / side - 1  # (N, 2)
    angles = 2 * math.pi * places @ frequencies  # (N, C / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


# %% check: one number after the other, with Python's math
from lessons.checker import Mistake, Task


def cases(random):
    for count, half, side in [(4, 3, 64), (2, 5, 10), (5, 2, 1024)]:
        yield {"points": random.integers(0, side, count, 2).double(), "frequencies": random(2, half), "side": side}


def reference(points, frequencies, side):
    rows = []
    for x, y in points.tolist():
        x, y = 2 * (x + 0.5) / side - 1, 2 * (y + 0.5) / side - 1
        angles = [2 * math.pi * (x * a + y * b) for a, b in frequencies.T.tolist()]
        rows.append([math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles])
    return torch.tensor(rows, dtype=torch.float64)


def flawed(points, frequencies, side, half=0.5, divide=0, stretch=True, turn=2 * math.pi, swap=False, order="sc"):
    points = points.flip(-1) if swap else points
    places = (points + half) / (side + divide)
    places = 2 * places - 1 if stretch else places
    angles = turn * places @ frequencies
    if order == "cs":
        return torch.cat([angles.cos(), angles.sin()], dim=-1)
    if order == "pairs":
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


MISTAKES = [
    Mistake("the waves of the pixel's corner", half=0.0, fix="Add half a pixel before you divide."),
    Mistake("the waves of places from 0 to 1", stretch=False, fix="Stretch them: 2 * place - 1."),
    Mistake("the waves without 2 pi", turn=1.0, fix="A frequency counts whole turns."),
    Mistake("the waves with pi in place of 2 pi", turn=math.pi, fix="A whole turn is 2 pi."),
    Mistake("the waves with cosines before sines", order="cs", fix="Sines first."),
    Mistake("the waves with sines and cosines in turn", order="pairs", fix="All sines, then all cosines."),
    Mistake("the waves of (y, x)", swap=True, fix="The first number of a point is x."),
    Mistake("the waves with the last pixel at 1", half=0.0, divide=-1, fix="Divide by the side itself."),
]

TASKS = [
    Task("encode_points", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=(),
         like="the same with Python's math, number by number"),
]


# %% hints
HINTS = [
    ("The steps", "`places = 2 * (points + 0.5) / side - 1`, then `angles = 2 * math.pi * places @ frequencies`."),
    ("The shape is (N, C / 2)", "Sines and cosines stand side by side: `torch.cat([..., ...], dim=-1)`."),
    ("Close, but not equal", "The pixel's middle: half a pixel is added before the division."),
]
