"""Are they equal?  (10 minutes, difficulty 2 of 5)

Prove that two tensors agree to rounding error. Largest difference, and the
verdict |ours - theirs| <= tolerance * (1 + |theirs|) for every number, like
`torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)`. A NaN in
either of them is never equal to anything.

    {"largest": a float (NaN where a NaN is in the way), "equal": True or False}
"""

import torch


# %% solution
def compare_outputs(ours, theirs, tolerance):
    """Two tensors of one shape and a float -> dict with largest (float) and equal (bool)."""
    gap = (ours - theirs).abs()
    return {"largest": gap.max().item(), "equal": bool((gap <= tolerance * (1 + theirs.abs())).all())}


# %% check: verdicts against torch.allclose
from lessons.checker import Mistake, Task


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


MISTAKES = [
    Mistake("the comparison without abs(): too small counts as right", gap=lambda a, b: a - b),
    Mistake("the mean difference instead of the largest", reduce=torch.mean, fix="One wrong number must not hide."),
    Mistake("the squared difference", gap=lambda a, b: (a - b).square(), fix="Take abs(), not the square."),
    Mistake("a verdict by the absolute tolerance alone", limit=lambda b: torch.ones_like(b),
            fix="tolerance * (1 + theirs.abs())."),
    Mistake("a verdict by the relative tolerance alone", limit=torch.abs, fix="tolerance * (1 + theirs.abs())."),
    Mistake("a verdict that lets NaN pass: nothing is above the tolerance, because NaN is above nothing", outside=True,
            fix="Ask whether all are within it."),
    Mistake("the difference relative to theirs", gap=lambda a, b: (a - b).abs() / b.abs(),
            fix="largest is the plain difference."),
]

TASKS = [
    Task("compare_outputs", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="torch.allclose",
         forbidden=("allclose", "isclose")),
]


# %% hints
HINTS = [
    ("largest is a tensor", "`.item()` makes a Python number of a tensor with one number; `bool(...)` a Python bool."),
    ("A NaN passes",
     "Every comparison with NaN is False. Ask whether all are within the tolerance, not whether any is outside."),
    ("The verdict is wrong for large numbers", "The tolerance grows with |theirs|: `tolerance * (1 + theirs.abs())`."),
]
