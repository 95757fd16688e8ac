"""The check of 2.4.5: verdicts against torch.allclose."""

import torch

from lessons.checker import Mistake, Task

HINTS = [
    ("largest is a tensor", "`.item()` makes a Python number of a tensor with one number; `bool(...)` a Python bool."),
    (
        "A NaN passes",
        "Every comparison with NaN is False. Ask whether all are within the tolerance, not whether any is outside.",
    ),
    ("The verdict is wrong for large numbers", "The tolerance grows with |theirs|: `tolerance * (1 + theirs.abs())`."),
]


def compare_outputs(ours, theirs, tolerance):
    gap = (ours - theirs).abs()
    return {"largest": gap.max().item(), "equal": bool((gap <= tolerance * (1 + theirs.abs())).all())}


def cases(random):
    base = random(3, 4)
    yield {"ours": base + 1e-12 * random(3, 4), "theirs": base, "tolerance": 1e-10}
    yield {"ours": base - 0.3, "theirs": base, "tolerance": 1e-10}  # below everywhere
    big = base * 1e6
    yield {"ours": big * (1 + 2e-5), "theirs": big, "tolerance": 1e-4}  # right only relative to the size
    one = base.clone()
    one[1, 2] += 0.5
    yield {"ours": one, "theirs": base, "tolerance": 0.05}  # one wrong number, a small mean
    small = base * 1e-6
    yield {"ours": small * 1.5, "theirs": small, "tolerance": 1e-4}  # right only absolutely
    broken = base.clone()
    broken[0, 0] = float("nan")
    yield {"ours": broken, "theirs": base, "tolerance": 1e-3}
    yield {"ours": base + 0.015, "theirs": torch.ones_like(base) * 0 + base, "tolerance": 0.01}


def reference(ours, theirs, tolerance):
    gaps = [abs(a - b) for a, b in zip(ours.flatten().tolist(), theirs.flatten().tolist())]
    largest = float("nan") if any(gap != gap for gap in gaps) else max(gaps)
    return {"largest": largest, "equal": torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)}


def flawed(
    ours,
    theirs,
    tolerance,
    gap=lambda a, b: (a - b).abs(),
    reduce=torch.max,
    limit=lambda b: 1 + b.abs(),
    outside=False,
):
    gaps = gap(ours, theirs)
    if outside:
        equal = not bool((gaps > tolerance * limit(theirs)).any())
    else:
        equal = bool((gaps <= tolerance * limit(theirs)).all())
    return {"largest": reduce(gaps).item(), "equal": equal}


TASKS = [
    Task(
        "compare_outputs",
        cases,
        reference=reference,
        like="torch.allclose",
        forbidden=("allclose", "isclose"),
        mistakes=[
            Mistake("the comparison without abs(): too small counts as right", flawed, gap=lambda a, b: a - b),
            Mistake(
                "the mean difference instead of the largest",
                flawed,
                reduce=torch.mean,
                fix="One wrong number must not hide.",
            ),
            Mistake(
                "the squared difference", flawed, gap=lambda a, b: (a - b).square(), fix="Take abs(), not the square."
            ),
            Mistake(
                "a verdict by the absolute tolerance alone",
                flawed,
                limit=lambda b: torch.ones_like(b),
                fix="tolerance * (1 + theirs.abs()).",
            ),
            Mistake(
                "a verdict by the relative tolerance alone",
                flawed,
                limit=torch.abs,
                fix="tolerance * (1 + theirs.abs()).",
            ),
            Mistake(
                "a verdict that lets NaN pass: nothing is above the tolerance, because NaN is above nothing",
                flawed,
                outside=True,
                fix="Ask whether all are within it.",
            ),
            Mistake(
                "the difference relative to theirs",
                flawed,
                gap=lambda a, b: (a - b).abs() / b.abs(),
                fix="largest is the plain difference.",
            ),
        ],
    )
]
