"""Precision and recall at every threshold  (15 minutes, difficulty 2 of 5)

A threshold trades one mistake for the other. At each one, counting the
pixels of all masks together:

    precision   right among found:  tp / (1 + tp + fp)
    recall      found among meant:  tp / (1 + tp + fn)

tp: found and meant; fp: found, not meant; fn: meant, not found; found means
strictly above the threshold. The 1 is the paper's code's. These pairs are
what its AP integrates over.
"""

import torch


# %% solution
def precision_recall(probabilities, truth, thresholds):
    """probabilities (N, H, W) in 0-1, truth (N, H, W) bool, thresholds (T)
    -> {"precision": (T) float64, "recall": (T) float64}."""
    found = probabilities.flatten() > thresholds[:, None]  # (T, N H W)
    meant = truth.flatten()
    tp = (found & meant).sum(dim=1).double()
    fp = (found & ~meant).sum(dim=1)
    fn = (~found & meant).sum(dim=1)
    return {"precision": tp / (1 + tp + fp), "recall": tp / (1 + tp + fn)}


# %% check: precision and recall against a loop over pixels
from lessons.checker import Mistake, Task


def cases(random):
    for n, height, width, count in [(3, 4, 5, 4), (2, 6, 3, 7), (4, 3, 3, 3)]:
        thresholds = torch.linspace(0.1, 0.9, count, dtype=torch.float64)
        probabilities = random(n, height, width).sigmoid()
        probabilities[0, 0] = thresholds[1]  # on a threshold: not found
        yield {"probabilities": probabilities, "truth": random(n, height, width) > 0.3, "thresholds": thresholds}


def reference(probabilities, truth, thresholds):
    pairs = list(zip(probabilities.flatten().tolist(), truth.flatten().tolist()))
    precision, recall = [], []
    for threshold in thresholds.tolist():
        right = sum(p > threshold and meant for p, meant in pairs)
        precision.append(right / (1 + sum(p > threshold for p, _ in pairs)))
        recall.append(right / (1 + sum(meant for _, meant in pairs)))
    return {
        "precision": torch.tensor(precision, dtype=torch.float64),
        "recall": torch.tensor(recall, dtype=torch.float64),
    }


def flawed(probabilities, truth, thresholds, strict=True, one=1, swap=False, each=False, below=False, negative=False):
    truth = ~truth if negative else truth
    rows = []
    for t in thresholds:
        found = probabilities > t if strict else probabilities >= t
        found = ~found if below else found
        axes = (1, 2) if each else (0, 1, 2)
        tp, a, b = (x.double().sum(dim=axes) for x in (found & truth, found, truth))
        rows.append(torch.stack([(tp / (one + a)).nan_to_num().mean(), (tp / (one + b)).nan_to_num().mean()]))
    precision, recall = torch.stack(rows).unbind(1)
    if swap:
        precision, recall = recall, precision
    return {"precision": precision, "recall": recall}


MISTAKES = [
    Mistake("precision and recall swapped", swap=True, fix="Precision divides by what was found."),
    Mistake("both without the 1 in the denominators", one=0, fix="1 + tp + fp, and 1 + tp + fn."),
    Mistake("both with >= in place of >", strict=False, fix="On the threshold is not found."),
    Mistake("the mean over masks of each mask's precision and recall", each=True,
            fix="Count the pixels of all masks together, then divide once."),
    Mistake("both for the pixels below the threshold", below=True),
    Mistake("both for the background", negative=True, fix="What is meant is True in truth."),
]

TASKS = [
    Task("precision_recall", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="a loop over the pixels"),
]


# %% hints
HINTS = [
    ("Where to begin", "For one threshold: `found = probabilities > t`, `tp = (found & truth).sum()`, and so on."),
    ("`recall` is wrong", "fn are the meant pixels that were not found: (~found & truth).sum()."),
    ("All thresholds at once", "`found = probabilities.flatten() > thresholds[:, None]` has the shape (T, N H W)."),
]
