"""The check of 4.5.2: P@X by counting."""

import torch

from lessons.checker import Mistake, Task

HINTS = [
    ("Where to begin", "For one level: `(ious >= level).double().mean()`."),
    ("An expression lies exactly on a level", "It counts: >=, not >."),
    ("One number came, several are asked for", "`torch.stack([... for level in levels])`, or compare (K, 1) with (L)."),
]


def precision_at(ious, levels):
    return torch.stack([(ious >= level).double().mean() for level in levels])


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


TASKS = [
    Task(
        "precision_at",
        cases,
        reference=reference,
        like="counting",
        mistakes=[
            Mistake("P@X with > in place of >=", flawed, strict=True, fix="An IoU of exactly X counts."),
            Mistake("the share that is NOT good enough", flawed, below=True),
            Mistake("the number of good ones, not their share", flawed, what="count", fix="Divide by all expressions."),
            Mistake("the mean IoU of those that are good enough", flawed, what="mean", fix="Only their number counts."),
            Mistake(
                "the IoUs below X set to 0, averaged", flawed, what="kept", fix="A good one counts 1, not its IoU."
            ),
            Mistake("percentages", flawed, scale=100.0, fix="A share between 0 and 1."),
            Mistake("the levels in reverse order", flawed, order=-1),
            Mistake("the number of good ones divided by one less", flawed, beyond=-1, fix="Divide by all of them."),
        ],
    )
]
