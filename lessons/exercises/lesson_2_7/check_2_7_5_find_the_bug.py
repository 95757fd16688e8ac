"""The check of 2.7.5: sentence vectors against a loop over the sentences, each cut to its length."""

import torch

from lessons.checker import Mistake, Task

HINTS = [
    ("Where to look", "A mean is a sum divided by a number. Which number, for a sentence of 3 tokens in a row of 8?"),
    ("Try it small", "All tokens equal to 1, mask [[1, 1, 0, 0]]: the vector should be 1. What comes out?"),
    ("The line", "The last one: divide by how many tokens are real, `mask.sum(dim=1)`, with an axis for D."),
]


def sentence_vectors(tokens, mask):
    real = mask.to(tokens.dtype).unsqueeze(-1)
    total = (tokens * real).sum(dim=1)
    return total / real.sum(dim=1)


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


TASKS = [
    Task(
        "sentence_vectors",
        cases,
        reference=reference,
        like="the mean of each sentence alone",
        gradients=("tokens",),
        mistakes=[
            Mistake("that of the file as you were given it: the bug is still in it", flawed, divide="all"),
            Mistake(
                "the mean over all places, padding with them: that line was right",
                lambda tokens, mask: tokens.mean(dim=1),
                fix="Keep the sum over real tokens.",
            ),
            Mistake(
                "the sum divided by the mean length of the batch", flawed, divide="batch", fix="Each by its own length."
            ),
            Mistake("the sum, not the mean", flawed, divide="never"),
            Mistake("the sum divided by the root of the length", flawed, divide="root"),
            Mistake(
                "the sum of all places, padding with it, divided by the real length", flawed, hide=False, divide="real"
            ),
            Mistake("the mean without [CLS]", flawed, divide="real", drop=("first",), fix="[CLS] and [SEP] count."),
            Mistake(
                "the mean without [CLS] and [SEP]", flawed, divide="real", drop=("first", "last"), fix="They count."
            ),
            Mistake("the answer of [CLS] alone", lambda tokens, mask: tokens[:, 0], fix="The mean of all real tokens."),
        ],
    )
]
