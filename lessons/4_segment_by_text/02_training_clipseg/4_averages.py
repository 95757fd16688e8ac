"""Three averages of one IoU  (15 minutes, difficulty 3 of 5)

The same masks, three numbers, all called IoU somewhere. In each, the
denominator gets 1 more pixel, as in the paper's code, so that empty masks
have a value:

    "scenes"    IoU of each mask, then the mean over the masks
    "pixels"    both and either summed over ALL masks, then one division:
                the paper's IoU_FG; large masks count most
    "classes"   both and either summed over the masks of each class, one
                division for each class, then the mean over the classes: mIoU
"""

import torch


# %% solution
def three_averages(found, truth, classes):
    """found, truth (N, H, W) bool, classes (N) whole numbers -> dict of three numbers (float64 tensors, ())."""
    both = (found & truth).sum(dim=(1, 2)).double()
    either = (found | truth).sum(dim=(1, 2)).double()
    per_class = []
    for kind in classes.unique():
        chosen = classes == kind
        per_class.append(both[chosen].sum() / (1 + either[chosen].sum()))
    return {
        "scenes": (both / (1 + either)).mean(),
        "pixels": both.sum() / (1 + either.sum()),
        "classes": torch.stack(per_class).mean(),
    }


# %% check: the averages against sums over lists of pixels
from lessons.checker import Mistake, Task


def cases(random):
    for n, height, width, kinds in [(6, 4, 5, 3), (5, 3, 3, 2), (7, 5, 4, 4)]:
        size = torch.linspace(-1, 1, n)[:, None, None]  # masks of different sizes
        found, truth = random(n, height, width) + size > 0, random(n, height, width) + size > 0
        found[0], truth[0] = False, False
        classes = random.integers(0, kinds, n) * 10
        classes[-1] = classes[0]
        yield {"found": found, "truth": truth, "classes": classes}


def reference(found, truth, classes):
    def ratio(chosen):
        pairs = [pair for n in chosen for pair in zip(found[n].flatten().tolist(), truth[n].flatten().tolist())]
        return sum(a and b for a, b in pairs) / (1 + sum(a or b for a, b in pairs))

    masks, kinds = range(len(found)), sorted(set(classes.tolist()))
    groups = [[n for n in masks if classes[n] == kind] for kind in kinds]
    values = {
        "scenes": sum(ratio([n]) for n in masks) / len(masks),
        "pixels": ratio(masks),
        "classes": sum(ratio(group) for group in groups) / len(groups),
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def flawed(found, truth, classes, one=1, pixels="sum", kinds="sum", every=False, weighted=False, dice=1):
    both = dice * (found & truth).sum(dim=(1, 2)).double()
    either = (found | truth).sum(dim=(1, 2)).double()
    either = either + (found & truth).sum(dim=(1, 2)) if dice == 2 else either
    each = (both / (one + either)).nan_to_num()
    numbers = range(int(classes.max()) + 1) if every else classes.unique().tolist()
    groups = [classes == kind for kind in numbers]
    if kinds == "sum":
        values = torch.stack([(both[g].sum() / (one + either[g].sum())).nan_to_num() for g in groups])
    else:
        values = torch.stack([each[g].mean() for g in groups])
    share = torch.stack([g.double().mean() for g in groups]) if weighted else torch.full_like(values, 1 / len(values))
    return {
        "scenes": each.mean(),
        "pixels": both.sum() / (one + either.sum()) if pixels == "sum" else each.mean(),
        "classes": (values * share).sum(),
    }


MISTAKES = [
    Mistake("the averages without the added pixel", one=0, fix="Divide by 1 + either."),
    Mistake("the averages whose pixels are the mean over masks once more", pixels="mean",
            fix="Sum both and either over all masks, then divide once."),
    Mistake("the averages whose classes are means of the masks' IoU", kinds="mean",
            fix="Within a class too: sum first, divide once."),
    Mistake("the averages over all class numbers up to the largest: absent classes count as 0", every=True,
            fix="Only classes that occur: classes.unique()."),
    Mistake("the averages with classes weighted by how often they occur", weighted=True,
            fix="Every class counts the same."),
    Mistake("the averages of the Dice score", dice=2, fix="both / (1 + either)."),
]

TASKS = [
    Task("three_averages", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="sums over lists of pixels"),
]


# %% hints
HINTS = [
    ("Where to begin", "`both` and `either`, one number for each mask, as in 4.2.3, as float64. All three start here."),
    ("`pixels` is wrong", "Sum first, divide then: both.sum() / (1 + either.sum())."),
    ("`classes` is wrong",
     "For each of `classes.unique()`: `chosen = classes == kind`, sum both[chosen], divide once."),
]
