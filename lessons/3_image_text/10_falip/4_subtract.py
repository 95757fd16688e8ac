"""Choose a box, and subtract what every sentence likes  (10 minutes, difficulty 2 of 5)

Some boxes score high whatever is asked. "Subtract" takes off, for each box,
the mean score that a bank of other expressions gives it. A softmax over the
boxes follows, and the best box is the answer.

    left[t, b] = scores[t, b] - mean over c of bank[c, b]

Hand in `{"left": (T, B), "probabilities": (T, B), "best": (T,)}`.
"""

import torch


# %% solution
def choose(scores, bank):
    """scores (T, B) of texts and boxes, bank (C, B) -> dict with left (T, B), probabilities (T, B), best (T,) int64."""
    left = scores - bank.mean(dim=0)
    return {"left": left, "probabilities": left.softmax(dim=-1), "best": left.argmax(dim=-1)}


# %% check: the choice against a loop over texts and boxes
import math

from lessons.checker import Mistake, Task


def cases(random):
    for texts, others, boxes in [(3, 4, 5), (4, 6, 4), (2, 2, 3)]:
        yield {"scores": 2 * random(texts, boxes), "bank": 3 * random(others, boxes) + 2 * random(boxes)}


def reference(scores, bank):
    left, shares, best = [], [], []
    for row in scores.tolist():
        rest = [value - sum(other[b] for other in bank.tolist()) / len(bank) for b, value in enumerate(row)]
        powers = [math.exp(value - max(rest)) for value in rest]
        left.append(rest)
        shares.append([power / sum(powers) for power in powers])
        best.append(rest.index(max(rest)))
    double = torch.float64
    return {"left": torch.tensor(left, dtype=double), "probabilities": torch.tensor(shares, dtype=double),
            "best": torch.tensor(best)}  # fmt: skip


def flawed(scores, bank, how="mean", axis=0, sign=-1, softmax=-1, best="left", late=False):
    if axis == 1:  # one number for each other expression, and then for all boxes
        level = bank.mean()
    else:
        level = {"mean": bank.mean(dim=0), "max": bank.amax(dim=0), "sum": bank.sum(dim=0),
                 "median": bank.median(dim=0).values}[how]  # fmt: skip
    left = scores + sign * level
    shares = (scores if late else left).softmax(dim=softmax)
    shares = shares - bank.softmax(dim=-1).mean(dim=0) if late else shares
    chosen = {"left": left, "scores": scores}[best].argmax(dim=-1)
    return {"left": left, "probabilities": shares, "best": chosen}


MISTAKES = [
    Mistake("the scores with nothing subtracted", sign=0, fix="scores - bank.mean(dim=0)."),
    Mistake("the scores with the mean added", sign=1, fix="It is taken off."),
    Mistake("the scores less one number for all boxes: no order changes", axis=1,
            fix="A mean for each box: over the bank's rows, dim=0."),
    Mistake("the scores less the bank's largest", how="max", fix="The mean."),
    Mistake("the scores less the bank's sum", how="sum", fix="The mean."),
    Mistake("the scores less the bank's median", how="median", fix="The mean."),
    Mistake("the choice by the scores before anything was subtracted", best="scores", fix="argmax of what is left."),
    Mistake("the softmax over the texts", softmax=0, fix="The boxes compete: dim=-1."),
    Mistake("the probabilities subtracted from each other", late=True, fix="Subtract scores, then the softmax."),
]

TASKS = [
    Task("choose", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="a loop over texts and boxes"),
]


# %% hints
HINTS = [
    ("Nothing changes when I subtract", "One number for all boxes changes no order. Each box has its own mean."),
    ("The probabilities do not add up to 1", "The softmax is the last step, over the boxes."),
    ("Which axis is the bank's?", "Rows are other expressions, columns are the boxes: mean(dim=0) gives (B,)."),
]
