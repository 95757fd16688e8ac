"""Softmax  (5 minutes, difficulty 1 of 5)

Turn scores into weights: positive numbers that sum to one along the last
axis. Like `torch.softmax(scores, dim=-1)`, which you may not call here.

    softmax(s)_i = exp(s_i) / sum_j exp(s_j)

One of the checks uses scores of 1000 and more; `exp(1000)` is infinite.
"""

import torch


# %% solution
def softmax(scores):
    """Scores (..., N) of any size -> weights (..., N); each row sums to 1."""
    shifted = scores - scores.max(dim=-1, keepdim=True).values
    exps = shifted.exp()
    return exps / exps.sum(dim=-1, keepdim=True)


# %% check: softmax against torch.softmax
from lessons.checker import Mistake, Task


def cases(random):
    yield {"scores": random(2, 5)}
    yield {"scores": random(3, 4, 7) * 5}
    yield {"scores": random(2, 3, 4, 6)}
    yield {"scores": random(3, 8) * 10 + 1000 * torch.arange(3.0, dtype=torch.float64)[:, None]}


def flawed(scores, axis=-1, shift="row", scaled_by="sum", exponent=torch.exp):
    if shift == "row":
        scores = scores - scores.amax(dim=axis, keepdim=True)
    elif shift == "all":
        scores = scores - scores.max()
    exps = exponent(scores)
    if scaled_by == "max":
        return exps / exps.amax(dim=axis, keepdim=True)
    return exps / exps.sum(dim=axis, keepdim=True)


MISTAKES = [
    Mistake("a softmax over the last but one axis", axis=-2, fix="Sum along dim=-1."),
    Mistake("a softmax over the first axis, the batch", axis=0, fix="Sum along dim=-1."),
    Mistake("a softmax over the whole tensor: all numbers together sum to one",
            lambda s: torch.softmax(s.flatten(), dim=0).reshape(s.shape), fix="Sum along dim=-1 with keepdim=True."),
    Mistake("the softmax without subtracting the largest score first: exp() overflows for large scores", shift="none",
            fix="Subtract scores.max(dim=-1, keepdim=True).values before exp()."),
    Mistake("the softmax with one maximum subtracted for the whole tensor: rows far below it underflow to 0 / 0",
            shift="all", fix="Subtract each row's own maximum."),
    Mistake("exp() divided by its largest value, not by the sum", scaled_by="max", fix="Divide by the sum."),
    Mistake("scores divided by their sum: exp() is missing", lambda s: s / s.sum(dim=-1, keepdim=True)),
    Mistake("the logarithm of the softmax", lambda s: torch.log_softmax(s, dim=-1), fix="Leave the log out."),
    Mistake("a softmax to the base 2", exponent=torch.exp2, fix="Use exp()."),
]

TASKS = [
    Task("softmax", cases, reference=lambda scores: torch.softmax(scores, dim=-1), flawed=flawed, mistakes=MISTAKES,
         gradients=("scores",), like="torch.softmax",
         forbidden=("softmax", "log_softmax", "softmin", "Softmax", "logsumexp")),
]


# %% hints
HINTS = [
    ("I do not know how to begin", "`exp()` of every score, then divide by the sum of the exps: two lines."),
    ("The shape or the sums are wrong",
     "Sum along the last axis and keep it, so that the division lines up: `.sum(dim=-1, keepdim=True)`."),
    ("NaN comes out for large scores",
     "Subtracting the same number from all scores of a row changes no weight (it cancels). Subtract the row's largest "
     "one: then the largest exponent is `exp(0)` = 1."),
]
