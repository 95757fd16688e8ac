"""Intersection over union  (10 minutes, difficulty 1 of 5)

How good is a mask? Pixels that are both found and meant, divided by pixels
that are found or meant. A pixel is found where its probability is strictly
above the threshold. One number for each mask; where nothing is found and
nothing is meant, the number is 0 (there is nothing to be right about).
"""

import torch


# %% solution
def iou(probabilities, truth, threshold):
    """probabilities (N, H, W) in 0-1, truth (N, H, W) bool, threshold a number -> (N) float64."""
    found = probabilities > threshold
    both = (found & truth).sum(dim=(1, 2))
    either = (found | truth).sum(dim=(1, 2))
    return both.double() / either.clamp(min=1)


# %% check: IoU against Python sets of pixels
from lessons.checker import Mistake, Task


def cases(random):
    for n, height, width, threshold in [(4, 5, 6, 0.5), (3, 4, 4, 0.3), (5, 3, 7, 0.7)]:
        probabilities, truth = random(n, height, width).sigmoid(), random(n, height, width) > 0.2
        probabilities[0], truth[0] = threshold / 2, False  # nothing found, nothing meant
        truth[1] = False  # something found, nothing meant
        probabilities[2, 0, :3] = threshold  # on the threshold: not found
        yield {"probabilities": probabilities, "truth": truth, "threshold": threshold}


def reference(probabilities, truth, threshold):
    values = []
    for one, meant in zip(probabilities, truth):
        found = {place for place, p in enumerate(one.flatten().tolist()) if p > threshold}
        right = {place for place, yes in enumerate(meant.flatten().tolist()) if yes}
        values.append(len(found & right) / len(found | right) if found | right else 0.0)
    return torch.tensor(values, dtype=torch.float64)


def flawed(probabilities, truth, threshold, strict=True, union="or", empty=0.0, fixed=None, top="and"):
    threshold = threshold if fixed is None else fixed
    found = probabilities > threshold if strict else probabilities >= threshold
    both, a, b = ((x).double().sum(dim=(1, 2)) for x in (found & truth, found, truth))
    if top == "same":
        both = (found == truth).double().sum(dim=(1, 2))
    below = {"or": a + b - (found & truth).double().sum(dim=(1, 2)), "sum": a + b, "found": a, "truth": b}
    below |= {"half": (a + b) / 2, "pixels": torch.full_like(a, truth[0].numel()), "plus": below["or"] + 1}
    ratio = both / below[union]
    return torch.where(below[union] == 0, torch.full_like(ratio, empty), ratio)


MISTAKES = [
    Mistake("the intersection over the sum of both areas: the overlap counts twice below", union="sum",
            fix="The union: found | truth."),
    Mistake("the Dice score, 2 * both / (found + meant)", union="half", fix="Divide by the union."),
    Mistake("the precision: the share of the found pixels that are right", union="found"),
    Mistake("the recall: the share of the meant pixels that were found", union="truth"),
    Mistake("the share of all pixels that are right, background included", union="pixels", top="same",
            fix="Where neither is, nobody was right about the object: IoU does not count it."),
    Mistake("the intersection over all pixels of the picture", union="pixels"),
    Mistake("IoU with >= in place of >", strict=False, fix="A pixel on the threshold is not found."),
    Mistake("IoU at the threshold 0.5, whatever threshold is given", fixed=0.5),
    Mistake("IoU that calls an empty answer to an empty mask perfect", empty=1.0, fix="0 here."),
    Mistake("IoU that is NaN where nothing is found and nothing is meant", empty=float("nan"),
            fix="`either.clamp(min=1)`."),
    Mistake("IoU with one pixel added to every union, as the paper's code does", union="plus",
            fix="Here only an empty union is treated apart."),
]

TASKS = [
    Task("iou", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="sets of pixels"),
]


# %% hints
HINTS = [
    ("Where to begin", "`found = probabilities > threshold`; then & and | of two bool tensors."),
    ("One number too few", "Sum over the last two axes only: `.sum(dim=(1, 2))` keeps one number for each mask."),
    ("NaN, or an error at the empty mask", "Divide by at least 1: `either.clamp(min=1)`."),
]
