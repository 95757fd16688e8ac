"""Ranks: the median and the mean reciprocal  (10 minutes, difficulty 2 of 5)

Two more numbers about the same search. The rank of a text is the place of
its picture among all pictures, the best place being 1. The median rank is
`torch.median`'s (the lower one of the two in the middle); the mean reciprocal
rank is the mean of 1 / rank.

    {"median_rank": a float, "mean_reciprocal_rank": a float}
"""

import torch


# %% solution
def rank_measures(similarity):
    """similarity (T pictures, T texts), the right pairs on the diagonal -> dict of two floats."""
    ranks = 1 + (similarity > similarity.diagonal()).sum(dim=0)
    return {"median_rank": float(ranks.median()), "mean_reciprocal_rank": (1 / ranks.double()).mean().item()}


# %% check: ranks against sorted lists
from lessons.checker import Mistake, Task


def cases(random):
    for count, gain in [(9, 1.0), (12, 0.5), (7, 0.0), (14, 2.0)]:
        bias = random(count, 1)
        yield {"similarity": random(count, count) + bias + gain * torch.eye(count, dtype=torch.float64)}


def reference(similarity):
    ranks = []
    for text in range(similarity.shape[1]):
        order = sorted(range(len(similarity)), key=lambda picture: -similarity[picture, text].item())
        ranks.append(order.index(text) + 1)
    middle = sorted(ranks)[(len(ranks) - 1) // 2]
    return {"median_rank": float(middle), "mean_reciprocal_rank": sum(1 / rank for rank in ranks) / len(ranks)}


def flawed(similarity, axis=0, first=1, middle=torch.median, mean=lambda ranks: (1 / ranks).mean(), better=torch.gt):
    diagonal = similarity.diagonal() if axis == 0 else similarity.diagonal()[:, None]
    ranks = (better(similarity, diagonal).sum(dim=axis) + first).double()
    return {"median_rank": float(middle(ranks)), "mean_reciprocal_rank": mean(ranks).item()}


MISTAKES = [
    Mistake("the other direction: the rank of each picture's text", axis=1, fix="Compare down the columns, dim=0."),
    Mistake("ranks counted from 0", first=0, fix="The best place is 1."),
    Mistake("ranks one too high: the right picture was counted as better than itself", first=2, fix="Use >, not >=."),
    Mistake("the mean rank instead of the median", middle=torch.mean),
    Mistake("one over the mean rank", mean=lambda ranks: 1 / ranks.mean(), fix="The mean of 1 / rank."),
    Mistake("ranks from the wrong end: how many pictures are worse", better=torch.lt),
    Mistake("the mean rank in place of the mean reciprocal rank", mean=torch.mean, fix="The mean of 1 / rank."),
]

TASKS = [
    Task("rank_measures", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="ranks from sorted lists"),
]


# %% hints
HINTS = [
    ("The rank without sorting",
     "1 + the number of pictures that are better than the right one: `(similarity > diagonal).sum(dim=0) + 1`."),
    ("The median is off by one", "Ranks count from 1."),
    ("The mean reciprocal rank is too small", "The mean of 1 / rank, not 1 / the mean rank."),
]
