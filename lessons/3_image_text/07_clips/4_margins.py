"""Margins, not levels  (10 minutes, difficulty 2 of 5)

Two models score the same sentences for the same pictures; their levels and
scales differ. Say of one model's cosines what can be compared. The right
sentence is number 0 of each row:

    rank         its place among the sentences, 1 the best; a tie counts
                 for it
    margin       its cosine less the best cosine of the others
    probability  its share after a softmax over exp(logit_scale) * cosine

Hand in a dict of the three, each of them (B,); `rank` is int64.
"""

import torch


# %% solution
def margins(cosine, logit_scale):
    """cosine (B, T) with the right sentence in column 0, logit_scale () -> rank, margin, probability, each (B,)."""
    right, others = cosine[:, 0], cosine[:, 1:]
    return {
        "rank": 1 + (others > right[:, None]).sum(dim=1),
        "margin": right - others.amax(dim=1),
        "probability": (logit_scale.exp() * cosine).softmax(dim=1)[:, 0],
    }


# %% check: the three against scipy's ranking and a loop
from lessons.checker import Mistake, Task


def cases(random):
    for batch, count, scale in [(3, 4, 1.5), (6, 2, 3.0), (2, 11, 2.5)]:
        cosine = random(batch, count).tanh()
        cosine[0, 1] = cosine[0, 0]  # a tie
        yield {"cosine": cosine, "logit_scale": torch.tensor(scale, dtype=torch.float64)}


def reference(cosine, logit_scale):
    from scipy.stats import rankdata

    ranks, gaps, shares = [], [], []
    for row in cosine:
        ranks.append(int(rankdata(-row.detach().numpy(), method="min")[0]))
        gaps.append(min(row[0] - other for other in row[1:]))
        weights = [torch.exp(torch.exp(logit_scale) * (value - row.max())) for value in row]
        shares.append(weights[0] / sum(weights))
    return {"rank": torch.tensor(ranks), "margin": torch.stack(gaps), "probability": torch.stack(shares)}


def flawed(cosine, logit_scale, gap="best", factor=torch.exp, axis=1, best=True, from_zero=False, ties="for"):
    right, others = cosine[:, 0], cosine[:, 1:]
    above = others > right[:, None] if best else others < right[:, None]
    above = above if ties == "for" else others >= right[:, None]
    rest = {"best": others.amax(dim=1), "mean": others.mean(dim=1), "worst": others.amin(dim=1),
            "all": cosine.amax(dim=1), "none": torch.zeros_like(right)}[gap]  # fmt: skip
    return {
        "rank": above.sum(dim=1) + (0 if from_zero else 1),
        "margin": right - rest,
        "probability": (factor(logit_scale) * cosine).softmax(dim=axis)[:, 0],
    }


MISTAKES = [
    Mistake("the level itself as margin", gap="none", fix="Subtract the best of the others."),
    Mistake("the margin over the mean of the others", gap="mean", fix="others.amax(dim=1)."),
    Mistake("the margin over the worst of the others", gap="worst", fix="others.amax(dim=1)."),
    Mistake("the margin over the best of all, the right one too: it is never above 0", gap="all",
            fix="Leave column 0 out: cosine[:, 1:]."),
    Mistake("the probability without the scale", factor=lambda s: 1.0, fix="logit_scale.exp() * cosine."),
    Mistake("the probability with logit_scale itself as factor", factor=lambda s: s, fix="logit_scale.exp()."),
    Mistake("the probability among the pictures", axis=0, fix="softmax(dim=1): the sentences of a row."),
    Mistake("the rank counted from the worst", best=False, fix="Count those that are larger."),
    Mistake("the rank counted from 0", from_zero=True, fix="1 is the best."),
    Mistake("the rank in which a tie counts against the right one", ties="against", fix="Larger, not equal."),
]

TASKS = [
    Task("margins", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("cosine",), like="scipy.stats.rankdata and a loop"),
]


# %% hints
HINTS = [
    ("The margin is never positive", "Is the right sentence among the others? `cosine[:, 1:]`."),
    ("All probabilities are nearly alike", "A softmax over cosines is flat: the scale is missing."),
    ("A rank is one too high", "Count the sentences that are strictly better, and add 1."),
]
