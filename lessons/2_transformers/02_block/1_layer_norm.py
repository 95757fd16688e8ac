"""Layer norm  (10 minutes, difficulty 1 of 5)

Shift and scale each token so that its D numbers have mean 0 and variance 1,
then apply a learned gain and bias. Like
`torch.nn.functional.layer_norm(x, (D,), weight, bias, eps)`.

    (x - mean) / sqrt(variance + eps) * weight + bias

The variance is the plain mean of the squared distances: divided by D.
"""

import torch


# %% solution
def layer_norm(x, weight, bias, eps):
    """x (B, N, D), weight (D), bias (D), eps a float -> (B, N, D)."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return centred / (variance + eps).sqrt() * weight + bias


# %% check: layer norm against torch.nn.functional.layer_norm
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim, eps, size in [(2, 3, 4, 1e-5, 1), (3, 5, 8, 1e-6, 1), (2, 4, 6, 1e-2, 0.1), (2, 6, 5, 1e-12, 3)]:
        yield {"x": random(batch, n, dim) * size + 1, "weight": random(dim), "bias": random(dim), "eps": eps}


def flawed(
    x, weight, bias, eps, axis=-1, divisor=0, inside=True, centre=True, root=True, gain=True, shift=True, own=None
):
    mean = x.mean(dim=axis, keepdim=True) if centre else 0
    variance = (x - mean).square().sum(dim=axis, keepdim=True) / (x.shape[axis] - divisor)
    eps = own or eps
    below = (variance + eps) if inside else variance
    below = below.sqrt() if root else below
    below = below if inside else below + eps
    return (x - mean) / below * (weight if gain else 1) + (bias if shift else 0)


MISTAKES = [
    Mistake("the reference with the variance divided by D - 1 instead of D", divisor=1,
            fix="Call var(dim=-1, keepdim=True, unbiased=False)."),
    Mistake("the reference with eps added outside the root", inside=False, fix="sqrt(variance + eps)."),
    Mistake("the reference with an eps of 1e-5 whatever eps is asked for", own=1e-5, fix="Use the input eps."),
    Mistake("the reference over the tokens instead of over the numbers of each token", axis=1,
            fix="Take mean and variance along dim=-1."),
    Mistake("the reference over the batch", axis=0, fix="Take mean and variance along dim=-1."),
    Mistake("the reference without the gain", gain=False, fix="Multiply by weight."),
    Mistake("the reference without the bias", shift=False, fix="Add bias at the end."),
    Mistake("the reference divided by the variance: the root is missing", root=False),
    Mistake("the reference without subtracting the mean", centre=False),
    Mistake("the reference with the bias inside the gain: (normalised + bias) * weight",
            lambda x, weight, bias, eps: F.layer_norm(x, (x.shape[-1],), weight, bias * weight, eps),
            fix="First the gain, then the bias."),
]

TASKS = [
    Task("layer_norm", cases, reference=lambda x, weight, bias, eps: F.layer_norm(x, (x.shape[-1],), weight, bias, eps),
         flawed=flawed, mistakes=MISTAKES, gradients=("x", "weight", "bias"), like="torch.nn.functional.layer_norm",
         forbidden=("layer_norm", "LayerNorm")),
]


# %% hints
HINTS = [
    ("The shapes do not line up",
     "Take mean and variance along `dim=-1` with `keepdim=True`; weight and bias line up by themselves."),
    ("Off by a per cent or so", "`x.var()` divides by D - 1 unless it is told `unbiased=False`."),
    ("Right for large numbers, wrong for small ones", "eps stands inside the root, beside the variance."),
]
