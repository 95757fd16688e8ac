"""The learning rate's curve  (10 minutes, difficulty 2 of 5)

CLIP's rate climbs in a straight line during the warm-up, then falls along
half a cosine to zero. Steps count from 0:

    step < warm_up:   peak * (step + 1) / warm_up
    later:            peak * (1 + cos(pi * t)) / 2,
                      t = (step - warm_up) / (total - warm_up)

Like open_clip's `cosine_lr`.
"""

import math


# %% solution
def learning_rate(step, warm_up, total, peak):
    """Three whole numbers and a float -> a float."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    t = (step - warm_up) / (total - warm_up)
    return peak * (1 + math.cos(math.pi * t)) / 2


# %% check: the rate against the same curve written with sin squared
from lessons.checker import Mistake, Task


def cases(random):
    for step in (0, 1, 4, 9, 10, 11, 30, 55, 99, 100):
        yield {"step": step, "warm_up": 10, "total": 100, "peak": 5e-4}
    yield {"step": 7, "warm_up": 0, "total": 20, "peak": 2.0}


def reference(step, warm_up, total, peak):
    for place in range(warm_up):
        if place == step:
            return sum(peak / warm_up for _ in range(place + 1))
    return peak * math.sin(math.pi / 2 * (total - step) / (total - warm_up)) ** 2


def flawed(
    step, warm_up, total, peak, first=1, rest=True, half=2, curve=lambda t: 1 + math.cos(math.pi * t), rising=True
):
    if step < warm_up:
        return peak * (step + first) / warm_up if rising else peak
    t = (step - warm_up) / (total - warm_up) if rest else step / total
    return peak * curve(t) / half


MISTAKES = [
    Mistake("a curve whose first step has the rate 0", first=0, fix="(step + 1) / warm_up."),
    Mistake("a curve whose cosine began at step 0, during the warm-up", rest=False,
            fix="t = (step - warm_up) / (total - warm_up)."),
    Mistake("a curve with 1 + cos not halved: twice too high after the warm-up", half=1),
    Mistake("a curve that falls in a straight line", curve=lambda t: 2 * (1 - t), fix="Half a cosine."),
    Mistake("a whole cosine wave: down and up again", curve=lambda t: 1 + math.cos(2 * math.pi * t)),
    Mistake("a curve without a warm-up: the peak at once", rising=False),
    Mistake("a curve with the angle in degrees", curve=lambda t: 1 + math.cos(180 * t), fix="math.pi, not 180."),
    Mistake("a curve that stays at its peak after the warm-up", curve=lambda t: 2.0,
            fix="Multiply by (1 + cos(pi t)) / 2."),
]

TASKS = [
    Task("learning_rate", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="the curve of open_clip's cosine_lr"),
]


# %% hints
HINTS = [
    ("Where to begin", "Two cases, an if: before the warm-up is over, and after."),
    ("The fall begins at the wrong place", "t runs from 0 to 1 after the warm-up: subtract `warm_up` above and below."),
    ("Twice too high", "1 + cos is 2 at its highest: halve it."),
]
