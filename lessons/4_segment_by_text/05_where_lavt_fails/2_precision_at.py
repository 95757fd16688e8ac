"""P@X: how often is it good enough?  (10 minutes, difficulty 1 of 5)

Precision at X: the share of the expressions whose own IoU is at least X,
for each X asked. It tells apart a model that is half right everywhere from
one that is right on every second expression, though their mean IoU may be
the same.
"""

import torch


# %% solution
def precision_at(ious, levels):
    """ious (K), the IoU of each expression, levels a tuple of numbers -> a tensor, one share for each level."""
    return torch.stack([(ious >= level).double().mean() for level in levels])


# %% check: P@X by counting
from lessons.checker import Mistake, Task


def cases(random):
    for count, levels in [(7, (0.5, 0.6, 0.7, 0.8, 0.9)), (12, (0.25, 0.75)), (5, (0.1, 0.5, 0.9))]:
        ious = random(count).sigmoid()
        ious[0], ious[1], ious[2] = levels[0], levels[-1], 0.0
        yield {"ious": ious, "levels": levels}


def reference(ious, levels):
    return torch.tensor([sum(v >= x for v in ious.tolist()) / len(ious) for x in levels], dtype=torch.float64)


def flawed(ious, levels, strict=False, what="share", below=False, scale=1.0, order=1, beyond=0):
    values = []
    for level in levels[::order]:
        good = ious > level if strict else ious >= level
        good = ~good if below else good
        share = good.double().sum() / (len(ious) + beyond)
        mean = ious[good].mean() if good.any() else ious.sum() * 0
        values.append({"share": share, "count": good.double().sum(), "mean": mean, "kept": (ious * good).mean()}[what])
    return torch.stack(values) * scale


MISTAKES = [
    Mistake("P@X with > in place of >=", strict=True, fix="An IoU of exactly X counts."),
    Mistake("the share that is NOT good enough", below=True),
    Mistake("the number of good ones, not their share", what="count", fix="Divide by all expressions."),
    Mistake("the mean IoU of those that are good enough", what="mean", fix="Only their number counts."),
    Mistake("the IoUs below X set to 0, averaged", what="kept", fix="A good one counts 1, not its IoU."),
    Mistake("percentages", scale=100.0, fix="A share between 0 and 1."),
    Mistake("the levels in reverse order", order=-1),
    Mistake("the number of good ones divided by one less", beyond=-1, fix="Divide by all of them."),
]

TASKS = [
    Task("precision_at", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="counting"),
]


# %% hints
HINTS = [
    ("Where to begin", "For one level: `(ious >= level).double().mean()`."),
    ("An expression lies exactly on a level", "It counts: >=, not >."),
    ("One number came, several are asked for", "`torch.stack([... for level in levels])`, or compare (K, 1) with (L)."),
]
