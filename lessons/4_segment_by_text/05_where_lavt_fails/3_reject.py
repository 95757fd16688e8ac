"""When to answer "it is not there"  (15 minutes, difficulty 3 of 5)

LAVT always paints what it finds likeliest. A score for the whole answer
lets it stay silent: the mean probability of the pixels it painted. Painted
are pixels whose referent logit is larger than the background logit; their
probability is a softmax over the two; an answer without a painted pixel
scores 0. Given answers to sentences whose referent is there and to
sentences whose referent is absent, find for each threshold two shares: of
the present ones how many are kept, of the absent ones how many are
refused. An answer is kept when its score is at least the threshold.
"""

import torch


# %% solution
def keep_and_refuse(present, absent, thresholds):
    """present (P, 2, H, W) and absent (A, 2, H, W) logits, thresholds (L)
    -> {"kept": (L) of the present, "refused": (L) of the absent}."""
    def scores(logits):
        p = logits.softmax(dim=1)[:, 1]  # (K, H, W)
        painted = (logits[:, 1] > logits[:, 0]).double()
        return (p * painted).sum(dim=(1, 2)) / painted.sum(dim=(1, 2)).clamp(min=1)

    kept = scores(present)[:, None] >= thresholds
    refused = scores(absent)[:, None] < thresholds
    return {"kept": kept.double().mean(dim=0), "refused": refused.double().mean(dim=0)}


# %% check: scores and thresholds, answer by answer and pixel by pixel
import math

from lessons.checker import Mistake, Task


def cases(random):
    for there, gone, height, width in [(9, 7, 3, 4), (14, 12, 4, 4)]:
        strength = torch.linspace(0.2, 4, there, dtype=torch.float64)[:, None, None, None]
        present, absent = random(there, 2, height, width) * strength, random(gone, 2, height, width)
        absent[0, 1] = absent[0, 0] - 1  # nothing painted
        thresholds = torch.tensor([0.0, 0.55, 0.62, 0.66, 0.7, 0.8, 0.95], dtype=torch.float64)
        yield {"present": present, "absent": absent, "thresholds": thresholds}


def score_of(logits):
    painted = [
        math.exp(b) / (math.exp(a) + math.exp(b))
        for a, b in zip(logits[0].flatten().tolist(), logits[1].flatten().tolist())
        if b > a
    ]
    return sum(painted) / len(painted) if painted else 0.0


def reference(present, absent, thresholds):
    there, gone = [score_of(one) for one in present], [score_of(one) for one in absent]
    kept = [sum(s >= t for s in there) / len(there) for t in thresholds.tolist()]
    refused = [sum(s < t for s in gone) / len(gone) for t in thresholds.tolist()]
    return {name: torch.tensor(v, dtype=torch.float64) for name, v in (("kept", kept), ("refused", refused))}


def flawed(present, absent, thresholds, score="painted", squash="softmax", refuse="below", mixed=False, swap=False):
    def scores(logits):
        p = logits.softmax(dim=1)[:, 1] if squash == "softmax" else logits[:, 1].sigmoid()
        painted = (logits[:, 1] > logits[:, 0]).double()
        size = painted.sum(dim=(1, 2))
        found = (p * painted).sum(dim=(1, 2)) / size.clamp(min=1)
        ways = {"painted": found, "all": p.mean(dim=(1, 2)), "top": p.amax(dim=(1, 2)), "area": painted.mean((1, 2))}
        return ways[score]

    if swap:
        present, absent = absent, present
    there, gone = scores(present)[:, None], scores(absent)[:, None]
    refused = (gone < thresholds) if refuse == "below" else (gone >= thresholds)
    kept, refused = (there >= thresholds).double(), refused.double()
    if mixed:
        total = len(kept) + len(refused)
        return {"kept": kept.sum(0) / total, "refused": refused.sum(0) / total}
    return {"kept": kept.mean(0), "refused": refused.mean(0)}


MISTAKES = [
    Mistake("shares by the mean probability of ALL pixels: small objects score low", score="all",
            fix="Average over the painted pixels alone."),
    Mistake("shares by the surest pixel", score="top", fix="The mean of the painted pixels."),
    Mistake("shares by how much is painted", score="area", fix="By how sure it is, not how much."),
    Mistake("shares by a sigmoid of the referent's logit, the background's ignored", squash="sigmoid",
            fix="A softmax over the two channels."),
    Mistake("the absent ones kept, not refused", refuse="kept", fix="score < threshold."),
    Mistake("shares of all answers together", mixed=True, fix="Kept: of the present. Refused: of the absent."),
    Mistake("present and absent swapped", swap=True),
]

TASKS = [
    Task("keep_and_refuse", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="counting answer by answer"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "The score of one answer: `p = logits.softmax(0)[1]`, `painted = logits[1] > logits[0]`, `p[painted].mean()`, and "
     "0 when nothing is painted."),
    ("NaN", "The mean of no pixel is NaN: `(p * painted).sum() / painted.sum().clamp(min=1)`."),
    ("`kept` is right, `refused` is not", "Refused are the absent ones whose score is BELOW the threshold."),
]
