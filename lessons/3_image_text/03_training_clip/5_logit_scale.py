"""Temperature and its limit  (5 minutes, difficulty 2 of 5)

CLIP learns the logarithm of its scale. It begins at a temperature of 0.07,
the scale being one over the temperature, and the scale may never exceed
100 (Radford et al. 2021, section 2.5), or training becomes unstable.

`scale_of`: the stored number that belongs to a temperature.
`limit`: the stored number, cut so that the scale is at most 100; like
`torch.clamp(logit_scale, max=...)` with the right number. It may be as small
as it likes.
"""

import math

import torch


# %% solution
def scale_of(temperature):
    """A float such as 0.07 -> the stored logarithm, a float (2.659...)."""
    return math.log(1 / temperature)


def limit(logit_scale):
    """The stored logarithm, a tensor () -> a tensor () whose exp is at most 100."""
    return logit_scale.clamp(max=math.log(100))


# %% check: stored scales against their definition
from lessons.checker import Mistake, Task


def scale_cases(random):
    for temperature in (0.07, 0.01, 1.0, 2.5):
        yield {"temperature": temperature}


def cases(random):
    for value in (2.6593, 4.6, 4.7, 80.0, 200.0, -1.5, 0.0):
        yield {"logit_scale": torch.tensor(value, dtype=torch.float64)}


def reference(logit_scale):
    if math.exp(min(float(logit_scale), 700.0)) <= 100:
        return logit_scale * 1
    return torch.full_like(logit_scale, 2 * math.log(10))


SCALE_OF_MISTAKES = [
    Mistake("the scale itself, not its logarithm", lambda t: 1 / t, fix="math.log(1 / temperature)."),
    Mistake("the logarithm of the temperature: the sign is wrong", math.log, fix="The scale is 1 / temperature."),
    Mistake("the logarithm to the base 10", lambda t: math.log10(1 / t), fix="math.log is the natural one."),
    Mistake("the logarithm to the base 2", lambda t: math.log2(1 / t), fix="math.log is the natural one."),
    Mistake("the exponential of the temperature", math.exp),
]

LIMIT_MISTAKES = [
    Mistake("the stored number cut at 100: its exp may be e to the 100", lambda x: x.clamp(max=100),
            fix="Cut at math.log(100)."),
    Mistake("the stored number cut at 2, the logarithm of 100 to the base 10", lambda x: x.clamp(max=2)),
    Mistake("the stored number kept between 0 and log(100)", lambda x: x.clamp(0, math.log(100)),
            fix="No lower limit."),
    Mistake("the scale, cut at 100, not its logarithm", lambda x: x.exp().clamp(max=100),
            fix="Give back the logarithm."),
    Mistake("the stored number, never cut", lambda x: x.clone()),
    Mistake("the larger of both: clamp(min=...) for clamp(max=...)", lambda x: x.clamp(min=math.log(100))),
]

TASKS = [
    Task("scale_of", scale_cases, reference=lambda temperature: -math.log(temperature), mistakes=SCALE_OF_MISTAKES,
         like="log(1 / temperature)"),
    Task("limit", cases, reference=reference, mistakes=LIMIT_MISTAKES, like="a clamp at log(100)"),
]


# %% hints
HINTS = [
    ("`scale_of`", "The scale is 1 / temperature; the stored number is its natural logarithm."),
    ("limit cuts too early or never",
     "The stored number is a logarithm: `exp(stored) <= 100` means `stored <= log(100)`, which is 4.605..."),
    ("Small values change", "There is a limit above only: `torch.clamp(x, max=...)`."),
]
