"""A learning rate that falls to nothing  (10 minutes, difficulty 1 of 5)

LAVT's learning rate falls as a polynomial: at step s of S (counted from 0)
it is base * (1 - s / S) ** 0.9. It begins at `base` and would be 0 at step
S. Nearly a straight line, a little above it nearly everywhere, and steep
at the very end.
"""

import torch


# %% solution
def learning_rates(base, steps):
    """base a number, steps S a whole number -> a float64 tensor (S) with the rate of each step."""
    left = 1 - torch.arange(steps, dtype=torch.float64) / steps
    return base * left**0.9


# %% check: polynomial decay against torch.optim.lr_scheduler.PolynomialLR
import math

from lessons.checker import Mistake, Task


def cases(random):
    for base, steps in [(5e-5, 10), (2.0, 7), (0.1, 23)]:
        yield {"base": base, "steps": steps}


def reference(base, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=0.9)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return torch.tensor(rates, dtype=torch.float64)


def flawed(base, steps, power=0.9, start=0, end=0, inside=False, shape="polynomial"):
    x = (torch.arange(steps, dtype=torch.float64) + start) / (steps + end)
    if shape == "cosine":
        return base * (1 + (math.pi * x).cos()) / 2
    if shape == "exponential":
        return base * power ** torch.arange(steps, dtype=torch.float64)
    return base * (1 - x**power if inside else (1 - x) ** power)


MISTAKES = [
    Mistake("a straight line (power 1)", power=1, fix="The power is 0.9."),
    Mistake("base * (1 - (s / S) ** 0.9): the power on the wrong part", inside=True),
    Mistake("the rates one step late: the last one is 0", start=1, fix="Steps count from 0."),
    Mistake("rates that reach 0 at the last step, divided by S - 1", end=-1,
            fix="Divide by S; 0 would be reached at step S, which does not come."),
    Mistake("half a cosine", shape="cosine"),
    Mistake("base * 0.9 ** s, exponential decay", shape="exponential", fix="The base of the power falls."),
    Mistake("the power 0.5", power=0.5, fix="0.9."),
    Mistake("the power 2", power=2, fix="0.9."),
]

TASKS = [
    Task("learning_rates", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="torch's PolynomialLR of power 0.9"),
]


# %% hints
HINTS = [
    ("Where to begin", "`torch.arange(steps)` counts 0, 1, ... steps - 1."),
    ("The first rate is not `base`", "At step 0 the factor is (1 - 0) ** 0.9 = 1."),
    ("The last rate is 0", "The last step is S - 1: its factor is (1 / S) ** 0.9."),
]
