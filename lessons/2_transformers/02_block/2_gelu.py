"""GELU and QuickGELU  (10 minutes, difficulty 1 of 5)

Two activations that look alike and are not interchangeable. timm's ViTs
were trained with the exact GELU, OpenAI's CLIP with its quick cousin.

    gelu(x) = x * Phi(x),  Phi(x) = (1 + erf(x / sqrt(2))) / 2
    quick_gelu(x) = x * sigmoid(1.702 x)

Like `torch.nn.functional.gelu(x)`, which you may not call, and like
QuickGELUActivation in transformers.
"""

import math

import torch


# %% solution
def gelu(x):
    """x of any shape -> the same shape, exact."""
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def quick_gelu(x):
    """x of any shape -> the same shape."""
    return x * torch.sigmoid(1.702 * x)


# %% check: GELU against torch, QuickGELU against its formula written another way
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    yield {"x": random(2, 5) * 2}
    yield {"x": random(3, 4, 6)}
    yield {"x": torch.linspace(-6, 6, 41, dtype=torch.float64)}


def tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


def both(x):
    return x / (1 + torch.exp(-1.702 * x))


GELU_MISTAKES = [
    Mistake("the tanh approximation of GELU, not the exact one", tanh_gelu, fix="Use torch.erf."),
    Mistake("QuickGELU, x * sigmoid(1.702 x), not the exact GELU", both, fix="Use torch.erf."),
    Mistake("SiLU, x * sigmoid(x)", F.silu),
    Mistake("ReLU", F.relu),
    Mistake("Phi(x) alone: the factor x is missing", lambda x: 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
    Mistake("GELU with erf(x): the division by sqrt(2) is missing", lambda x: 0.5 * x * (1 + torch.erf(x))),
    Mistake("GELU with erf(x / 2): the root is missing", lambda x: 0.5 * x * (1 + torch.erf(x / 2))),
    Mistake("GELU without the half: twice the reference", lambda x: x * (1 + torch.erf(x / math.sqrt(2)))),
    Mistake("x times the bell curve itself; Phi is the area under it",
            lambda x: x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)),
]

QUICK_GELU_MISTAKES = [
    Mistake("the exact GELU, not QuickGELU", F.gelu, fix="x * torch.sigmoid(1.702 * x)."),
    Mistake("the tanh approximation of GELU, not QuickGELU", tanh_gelu),
    Mistake("SiLU, x * sigmoid(x): the 1.702 is missing", F.silu),
    Mistake("1.702 x sigmoid(x): the number belongs inside the sigmoid", lambda x: 1.702 * F.silu(x)),
    Mistake("sigmoid(1.702 x): the factor x is missing", lambda x: torch.sigmoid(1.702 * x)),
    Mistake("QuickGELU with 1.7 instead of 1.702", lambda x: x * torch.sigmoid(1.7 * x)),
]

TASKS = [
    Task("gelu", cases, reference=F.gelu, mistakes=GELU_MISTAKES, gradients=("x",), like="torch.nn.functional.gelu",
         forbidden=("gelu", "GELU")),
    Task("quick_gelu", cases, reference=both, mistakes=QUICK_GELU_MISTAKES, gradients=("x",), like="QuickGELU",
         forbidden=("QuickGELU", "QuickGELUActivation")),
]


# %% hints
HINTS = [
    ("Which function is erf?", "`torch.erf`; and `math.sqrt(2)` is a plain number that a tensor can be divided by."),
    ("Off in the third decimal",
     "There are three GELUs: exact (erf), tanh and sigmoid. The third decimal is where they differ."),
    ("QuickGELU is wrong", "1.702 multiplies x inside the sigmoid only."),
]
