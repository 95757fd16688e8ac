"""The check of 5.1.2: one number after the other, with Python's math."""

import math

import torch

from lessons.checker import Mistake, Task

HINTS = [
    ("The steps", "`places = 2 * (points + 0.5) / side - 1`, then `angles = 2 * math.pi * places @ frequencies`."),
    ("The shape is (N, C / 2)", "Sines and cosines stand side by side: `torch.cat([..., ...], dim=-1)`."),
    ("Close, but not equal", "The pixel's middle: half a pixel is added before the division."),
]


def encode_points(points, frequencies, side):
    places = 2 * (points + 0.5) / side - 1  # (N, 2)
    angles = 2 * math.pi * places @ frequencies  # (N, C / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


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


TASKS = [
    Task(
        "encode_points",
        cases,
        reference=reference,
        like="the same with Python's math, number by number",
        gradients=(),
        mistakes=[
            Mistake("the waves of the pixel's corner", flawed, half=0.0, fix="Add half a pixel before you divide."),
            Mistake("the waves of places from 0 to 1", flawed, stretch=False, fix="Stretch them: 2 * place - 1."),
            Mistake("the waves without 2 pi", flawed, turn=1.0, fix="A frequency counts whole turns."),
            Mistake("the waves with pi in place of 2 pi", flawed, turn=math.pi, fix="A whole turn is 2 pi."),
            Mistake("the waves with cosines before sines", flawed, order="cs", fix="Sines first."),
            Mistake(
                "the waves with sines and cosines in turn", flawed, order="pairs", fix="All sines, then all cosines."
            ),
            Mistake("the waves of (y, x)", flawed, swap=True, fix="The first number of a point is x."),
            Mistake(
                "the waves with the last pixel at 1", flawed, half=0.0, divide=-1, fix="Divide by the side itself."
            ),
        ],
    )
]
