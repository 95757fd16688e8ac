"""Cut the padding off  (10 minutes, difficulty 2 of 5)

Rows of 256 ids, most of it padding. Keep the columns up to the last one in
which any row has a token, and say which places of what is left are tokens:

    "ids"    (B, n)   the columns that are kept
    "mask"   (B, n)   True on a token, False on padding

`pad` is the id of [PAD], which need not be 0. A batch of empty rows keeps
no column. The reference is a loop over rows and places.
"""

import torch


# %% solution
def trim(ids, pad):
    """int64 (B, N), the id of [PAD] -> dict with ids and mask, both (B, n)."""
    mask = ids != pad
    columns = mask.any(dim=0).nonzero()
    length = int(columns.max()) + 1 if len(columns) else 0
    return {"ids": ids[:, :length], "mask": mask[:, :length]}


# %% check: the cut against a loop over rows and places
from lessons.checker import Mistake, Task


def cases(random):
    for lengths, context, pad in [((5, 3, 2), 9, 0), ((4,), 4, 0), ((2, 7, 3), 12, 6), ((0, 0), 5, 0), ((3, 3), 8, 1)]:
        ids = torch.full((len(lengths), context), pad)
        for row, length in enumerate(lengths):
            ids[row, :length] = torch.arange(7, 7 + length)
        yield {"ids": ids, "pad": pad}


def reference(ids, pad):
    rows, length = ids.tolist(), 0
    for row in rows:
        for place, number in enumerate(row):
            if number != pad:
                length = max(length, place + 1)
    kept = torch.tensor([row[:length] for row in rows], dtype=torch.long).reshape(len(rows), length)
    mask = torch.tensor([[number != pad for number in row[:length]] for row in rows], dtype=torch.bool)
    return {"ids": kept, "mask": mask.reshape(len(rows), length)}


def flawed(ids, pad, to="longest", more=0, invert=False, zero=False, whole=False):
    mask = ids != (0 if zero else pad)
    lengths = mask.sum(dim=1)
    length = {"longest": lengths.max(), "shortest": lengths.min(), "first": lengths[0], "all": ids.shape[1]}[to]
    length = max(int(length) + more, 0)
    kept = mask[:, :length]
    return {"ids": ids[:, :length], "mask": ~kept if invert else torch.ones_like(kept) if whole else kept}


MISTAKES = [
    Mistake("the cut at the shortest text: the others lose their ends", to="shortest",
            fix="The last column in which any row has a token."),
    Mistake("the cut at the first text's length", to="first"),
    Mistake("the cut one column too early: the longest text loses [SEP]", more=-1, fix="The last place + 1."),
    Mistake("the cut one column too late", more=1),
    Mistake("the rows as they came, with all their padding", to="all"),
    Mistake("the right cut with a mask that is True on padding", invert=True, fix="ids != pad."),
    Mistake("the right cut with a mask of ones: shorter texts still have padding", whole=True),
    Mistake("the cut that takes 0 for the padding", zero=True, fix="Compare with `pad`."),
]

TASKS = [
    Task("trim", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="a loop over rows and places"),
]


# %% hints
HINTS = [
    ("Which columns?", "`(ids != pad).any(dim=0)` is True for a column in which some row has a token."),
    ("It fails on empty rows", "Then no column is True, and `max` has nothing to look at: the length is 0."),
    ("Right for BERT, wrong for others", "The padding is `pad`, not 0."),
]
