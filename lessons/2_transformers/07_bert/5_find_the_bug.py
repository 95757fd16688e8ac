"""Find the bug: sentences that depend on their neighbours  (10 minutes, difficulty 2 of 5)

One vector for a whole sentence: the mean of the answers of all its tokens,
[CLS] and [SEP] among them, padding not. For a single sentence this function
is right. In a batch, a short sentence gets another vector when a longer one
stands beside it. One line is wrong. Repair it.
"""

import torch


# %% given: with its bug
def sentence_vectors(tokens, mask):
    """tokens (B, N, D) after the last block, mask (B, N) of 1 and 0 -> (B, D)."""
    real = mask.to(tokens.dtype).unsqueeze(-1)
    total = (tokens * real).sum(dim=1)
    return total / tokens.shape[1]


# %% solution
def sentence_vectors(tokens, mask):
    real = mask.to(tokens.dtype).unsqueeze(-1)
    total = (tokens * real).sum(dim=1)
    return total / real.sum(dim=1)


# %% check: sentence vectors against a loop over the sentences, each cut to its length
from lessons.checker import Mistake, Task


def cases(random):
    for lengths, dim in [((5, 3, 2), 4), ((6,), 3), ((4, 4), 5), ((2, 7, 3, 5), 3)]:
        mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
        for row, length in enumerate(lengths):
            mask[row, :length] = 1
        yield {"tokens": random(len(lengths), max(lengths), dim) + 1, "mask": mask}


def reference(tokens, mask):
    return torch.stack([tokens[row, : int(mask[row].sum())].mean(dim=0) for row in range(len(tokens))])


def flawed(tokens, mask, divide="all", hide=True, drop=()):
    kept = mask.clone()
    ends = mask.sum(dim=1) - 1
    if "first" in drop:
        kept[:, 0] = 0
    if "last" in drop:
        kept[torch.arange(len(mask)), ends] = 0
    real = kept.to(tokens.dtype).unsqueeze(-1)
    total = (tokens * real if hide else tokens).sum(dim=1)
    count = {
        "all": tokens.shape[1],
        "real": real.sum(dim=1),
        "root": real.sum(dim=1).sqrt(),
        "longest": int(mask.sum(dim=1).max()),
        "batch": real.sum() / len(tokens),
        "never": 1,
    }
    return total / count[divide]


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", divide="all"),
    Mistake("the mean over all places, padding with them: that line was right", lambda tokens, mask: tokens.mean(dim=1),
            fix="Keep the sum over real tokens."),
    Mistake("the sum divided by the mean length of the batch", divide="batch", fix="Each by its own length."),
    Mistake("the sum, not the mean", divide="never"),
    Mistake("the sum divided by the root of the length", divide="root"),
    Mistake("the sum of all places, padding with it, divided by the real length", hide=False, divide="real"),
    Mistake("the mean without [CLS]", divide="real", drop=("first",), fix="[CLS] and [SEP] count."),
    Mistake("the mean without [CLS] and [SEP]", divide="real", drop=("first", "last"), fix="They count."),
    Mistake("the answer of [CLS] alone", lambda tokens, mask: tokens[:, 0], fix="The mean of all real tokens."),
]

TASKS = [
    Task("sentence_vectors", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("tokens",),
         like="the mean of each sentence alone"),
]


# %% hints
HINTS = [
    ("Where to look", "A mean is a sum divided by a number. Which number, for a sentence of 3 tokens in a row of 8?"),
    ("Try it small", "All tokens equal to 1, mask [[1, 1, 0, 0]]: the vector should be 1. What comes out?"),
    ("The line", "The last one: divide by how many tokens are real, `mask.sum(dim=1)`, with an axis for D."),
]
