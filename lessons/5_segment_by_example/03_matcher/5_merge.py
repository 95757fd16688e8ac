"""Controllable merging  (10 minutes, difficulty 2 of 5)

One object may need several proposals (a bird's head, its body). Of the
`count` best proposals keep those whose score is above `share` times the best
score (strictly; the best itself always), and give the union of their masks.
"""

import torch


# %% solution
def merge(masks, scores, count, share):
    """masks (M, H, W) bool, scores (M) above 0, count >= 1, share 0 to 1 -> (H, W) bool."""
    values, numbers = scores.topk(min(count, len(scores)))
    good = values > share * values[0]
    good[0] = True
    return masks[numbers[good]].any(dim=0)


# %% check: the union against a loop over sorted proposals
from lessons.checker import Mistake, Task


def cases(random):
    for total, count, share in [(6, 3, 0.5), (5, 5, 0.75), (8, 2, 0.25), (4, 3, 1.0), (6, 6, 0.5)]:
        scores = torch.linspace(0.2, 0.8, total, dtype=torch.float64)[random.order(total)]
        if share < 1:
            scores[scores.argsort()[total // 2]] = share * scores.max()  # one that is exactly at the limit
        yield {"masks": random(total, 5, 6) > 0.9, "scores": scores, "count": count, "share": share}


def reference(masks, scores, count, share):
    order = sorted(range(len(scores)), key=lambda number: -scores[number].item())[:count]
    union = torch.zeros_like(masks[0])
    for place, number in enumerate(order):
        if place == 0 or scores[number] > share * scores[order[0]]:
            union = union | masks[number]
    return union


def flawed(masks, scores, count, share, strict=True, relative=True, best=True, join="any", counted=True):
    values, numbers = scores.topk(min(count, len(scores)) if counted else len(scores))
    limit = share * values[0] if relative else share
    good = values > limit if strict else values >= limit
    good[0] |= best
    chosen = masks[numbers[good]]
    if join == "all":
        return chosen.all(dim=0)
    if join == "odd":
        return chosen.sum(dim=0) % 2 == 1
    return chosen.any(dim=0) if len(chosen) else torch.zeros_like(masks[0])


def only_best(masks, scores, count, share):
    return masks[scores.argmax()]


def worst(masks, scores, count, share):
    return flawed(masks, -scores, count, share, relative=False, strict=False)


MISTAKES = [
    Mistake("the union with those exactly at the limit", strict=False, fix="Strictly above."),
    Mistake("the union of those above `share` itself, not above that part of the best", relative=False),
    Mistake("nothing where even the best is not above the limit", best=False, fix="The best stays."),
    Mistake("the pixels that all chosen masks share", join="all", fix="any, not all."),
    Mistake("the pixels in an odd number of chosen masks", join="odd", fix="any."),
    Mistake("the union without looking at `count`", counted=False, fix="topk first."),
    Mistake("the best mask alone", only_best, fix="Merge those that are nearly as good."),
]

TASKS = [
    Task("merge", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="a loop over the sorted proposals"),
]


# %% hints
HINTS = [
    ("The best ones", "`scores.topk(min(count, len(scores)))` gives values and numbers, best first."),
    ("Who stays", "`values > share * values[0]`, and the first in any case (with share 1 nobody is above)."),
    ("The union", "`masks[numbers].any(dim=0)`."),
]
