"""Two IoUs that disagree  (10 minutes, difficulty 2 of 5)

Papers on referring segmentation give two numbers. Overall IoU: add up the
intersections of all expressions, add up their unions, divide once. Mean
IoU: divide for each expression, then average. Large objects rule the first,
every expression counts alike in the second. Where neither mask has a pixel,
an expression's IoU counts as 0.
"""

import torch


# %% solution
def two_ious(found, meant):
    """found and meant (K, H, W) bool, one mask for each of K expressions -> {"overall": number, "mean": number}."""
    both = (found & meant).sum(dim=(1, 2)).double()
    either = (found | meant).sum(dim=(1, 2)).double()
    return {"overall": both.sum() / either.sum(), "mean": (both / either.clamp(min=1)).mean()}


# %% check: overall and mean IoU against sets of pixels
from lessons.checker import Mistake, Task


def cases(random):
    for count, height, width in [(4, 5, 6), (6, 4, 4), (3, 7, 3)]:
        found, meant = random(count, height, width) > 0.3, random(count, height, width) > 0.1
        found[0, :2], meant[0, :2] = True, True
        found[1] = meant[1] = False  # nothing found, nothing meant
        found[2] = False
        yield {"found": found, "meant": meant}


def reference(found, meant):
    tops, bottoms, values = 0, 0, []
    for one, other in zip(found.flatten(1).tolist(), meant.flatten(1).tolist()):
        a, b = ({place for place, yes in enumerate(mask) if yes} for mask in (one, other))
        tops, bottoms = tops + len(a & b), bottoms + len(a | b)
        values.append(len(a & b) / len(a | b) if a | b else 0.0)
    return {"overall": tops / bottoms, "mean": sum(values) / len(values)}


def flawed(found, meant, union="or", empty=0.0, swap=False, skip=False, overall="sums", weigh=False):
    both, a, b = ((x).sum(dim=(1, 2)).double() for x in (found & meant, found, meant))
    either = {"or": a + b - both, "sum": a + b, "half": (a + b) / 2, "found": a, "meant": b}[union]
    ratio = torch.where(either == 0, torch.full_like(both, empty), both / either.clamp(min=1e-9))
    full = either > 0
    mean = ratio[full].mean() if skip else ratio.mean()
    mean = (ratio * b).sum() / b.sum() if weigh else mean
    ways = {"sums": both.sum() / either.sum(), "mean": mean, "means": both.mean() / (either[full].mean())}
    first, second = ways[overall], mean
    return {"overall": second, "mean": first} if swap else {"overall": first, "mean": second}


MISTAKES = [
    Mistake("the two numbers swapped", swap=True, fix="Overall: add first, divide once."),
    Mistake("the mean IoU in both places", overall="mean",
            fix="For the overall one, sum over all expressions before dividing."),
    Mistake("IoUs whose unions count the overlap twice", union="sum",
            fix="found | meant, or the sum minus the intersection."),
    Mistake("Dice scores", union="half", fix="Divide by the union."),
    Mistake("precisions: divided by what was found", union="found"),
    Mistake("recalls: divided by what was meant", union="meant"),
    Mistake("a mean IoU in which an empty union counts as 1", empty=1.0, fix="0 here."),
    Mistake("a mean IoU that leaves expressions with an empty union out", skip=True, fix="They count, as 0."),
    Mistake("a mean IoU weighted by the size of what is meant", weigh=True, fix="All count alike."),
    Mistake("intersections averaged over all expressions, unions over those that have one", overall="means"),
]

TASKS = [
    Task("two_ious", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="sets of pixels"),
]


# %% hints
HINTS = [
    ("Where to begin", "`both = (found & meant).sum(dim=(1, 2))` and `either` with |: one number an expression."),
    ("`overall` is wrong", "both.sum() / either.sum(): one division, at the very end."),
    ("`mean` is NaN", "Where the union is empty, divide by 1: `either.clamp(min=1)` makes that IoU 0."),
]
