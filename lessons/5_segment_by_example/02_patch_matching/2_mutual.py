"""Mutual nearest neighbours  (10 minutes, difficulty 2 of 5)

Patch r of the reference likes target patch t best. Does t like r best, too?
Then they are a mutual pair. Many one-way matches are lost this way, most of
the wrong ones among them.
"""

import torch


# %% solution
def mutual_pairs(cosines):
    """cosines (R, N) -> (pairs, 2) int64: (reference patch, target patch), by ascending reference patch."""
    there, back = cosines.argmax(dim=1), cosines.argmax(dim=0)
    home = torch.arange(len(cosines))
    mutual = back[there] == home
    return torch.stack([home[mutual], there[mutual]], dim=1)


# %% check: mutual pairs against a loop over all pairs
from lessons.checker import Mistake, Task


def cases(random):
    for reference, target in [(8, 11), (10, 10), (12, 6), (5, 9)]:
        yield {"cosines": random(reference, target) + random(1, target) + 0.5 * random(reference, 1)}


def reference(cosines):
    rows, found = cosines.tolist(), []
    for r, row in enumerate(rows):
        for t, value in enumerate(row):
            if value == max(row) and value == max(other[t] for other in rows):
                found.append((r, t))
    return torch.tensor(found)


def one_way(cosines, axis=1):
    best = cosines.argmax(dim=axis)
    numbers = torch.arange(len(best))
    pairs = torch.stack([numbers, best] if axis == 1 else [best, numbers], dim=1)
    return pairs[pairs[:, 0].argsort(stable=True)]


def changed(cosines, change):
    return change(reference(cosines))


def lost(cosines):
    there, back = cosines.argmax(dim=1), cosines.argmax(dim=0)
    home = torch.arange(len(cosines))
    others = back[there] != home
    return torch.stack([home[others], there[others]], dim=1)


MISTAKES = [
    Mistake("the one-way pairs, from the reference", one_way, fix="Ask the target patch, too."),
    Mistake("the one-way pairs, from the target", one_way, axis=0, fix="Ask the reference patch, too."),
    Mistake("the right pairs with target and reference swapped", change=lambda p: p.flip(1)),
    Mistake("the right pairs by ascending target patch", change=lambda p: p[p[:, 1].argsort()]),
    Mistake("the reference patches of the right pairs, without their partners", change=lambda p: p[:, 0]),
    Mistake("the pairs that are not mutual", lost, fix="Keep those that come home."),
    Mistake("the mutual pairs of the least similar", lambda c: reference(-c), fix="argmax."),
]

TASKS = [
    Task("mutual_pairs", cases, reference=reference, flawed=changed, mistakes=MISTAKES, like="a loop over all pairs"),
]


# %% hints
HINTS = [
    ("Two questions", "`there = cosines.argmax(dim=1)` and `back = cosines.argmax(dim=0)`: one an r, one a t."),
    ("The round trip", "Go from r to `there[r]` and back: `back[there]` has one answer for each r."),
    ("Who stays", "Those that come home: `back[there] == torch.arange(len(cosines))`."),
]
