"""Normalise each channel over the picture  (10 minutes, difficulty 2 of 5)

PWAM normalises its query, and what the words gave, with an instance norm
(Ulyanov et al. 2016): of each picture and each channel the mean over all
positions is subtracted, and it is divided by the standard deviation over
them. The variance is that of the population (divided by N, not N - 1);
1e-5 is added to it, under the root. Nothing is learned, and nothing is
remembered from other pictures.
"""

import torch


# %% solution
def instance_norm(x):
    """x (B, N, C): pictures, positions, channels -> the same shape, normalised."""
    variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)  # (B, 1, C)
    return (x - mean) / (variance + 1e-5).sqrt()


# %% check: instance norm against torch.nn.InstanceNorm1d
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, channels in [(2, 6, 3), (3, 5, 5), (4, 4, 2)]:
        x = random(batch, n, channels) * torch.linspace(0.002, 2, channels, dtype=torch.float64)
        yield {"x": x + random(1, 1, channels) * 3 + torch.arange(batch, dtype=torch.float64)[:, None, None]}


def reference(x):
    return nn.InstanceNorm1d(x.shape[-1], eps=1e-5).eval()(x.transpose(1, 2)).transpose(1, 2)


def flawed(x, axes=(1,), correction=0, eps=1e-5, place="inside", centre=True, divide="std"):
    variance, mean = torch.var_mean(x, dim=axes, correction=correction, keepdim=True)
    below = (variance + eps).sqrt() if place == "inside" else variance.sqrt() + eps
    below = variance + eps if divide == "variance" else torch.ones_like(below) if divide == "nothing" else below
    return (x - mean if centre else x) / below


MISTAKES = [
    Mistake("layer norm: each position over its channels", axes=(2,),
            fix="The mean is over the positions of one channel: dim=1."),
    Mistake("batch norm in training: each channel over all pictures at once", axes=(0, 1),
            fix="Each picture for itself: the batch axis stays."),
    Mistake("group norm with one group: each picture over positions and channels", axes=(1, 2)),
    Mistake("normalised over the batch", axes=(0,), fix="dim=1 counts the positions."),
    Mistake("instance norm with the variance of a sample", correction=1,
            fix="Divide by N: correction=0 (unbiased=False)."),
    Mistake("instance norm with eps 1e-6", eps=1e-6, fix="1e-5 here."),
    Mistake("instance norm without eps", eps=0.0, fix="Add 1e-5 to the variance."),
    Mistake("instance norm with eps outside the root", place="outside", fix="sqrt(variance + 1e-5)."),
    Mistake("instance norm without subtracting the mean", centre=False),
    Mistake("the mean subtracted, and nothing divided", divide="nothing"),
    Mistake("division by the variance", divide="variance", fix="By its root."),
]

TASKS = [
    Task("instance_norm", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("x",),
         like="torch.nn.InstanceNorm1d", forbidden=("instance_norm", "batch_norm", "InstanceNorm1d")),
]


# %% hints
HINTS = [
    ("Where to begin", "The axes are (B, N, C) = (0, 1, 2). Over which of them is one number made? Over N alone."),
    ("The shapes do not fit", "`x.mean(dim=1, keepdim=True)` keeps the axis with length 1, so that it broadcasts."),
    ("Close, but not equal",
     "`x.var(dim=1)` divides by N - 1: say `correction=0`. And 1e-5 is added to the variance, before the root."),
]
