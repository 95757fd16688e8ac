"""Three matrices into one, and back  (5 minutes, difficulty 1 of 5)

transformers keeps the projections of q, k and v apart, timm and this
project keep one matrix with 3D rows: first the rows of q, then k, then v,
as `torch.nn.MultiheadAttention`'s `in_proj_weight`. Write both directions;
biases (one axis) must pass through the same functions.
"""

import torch


# %% solution
def stack_qkv(query, key, value):
    """Three weights (D, D), or three biases (D) -> one (3D, D), or (3D)."""
    return torch.cat([query, key, value])


def split_qkv(stacked):
    """One weight (3D, D) or bias (3D) -> the three, as a tuple (query, key, value)."""
    return stacked.chunk(3)


# %% check: stacked rows against loops over rows
from lessons.checker import Mistake, Task


def stack_cases(random):
    for dim in (3, 4):
        yield {"query": random(dim, dim), "key": random(dim, dim), "value": random(dim, dim)}
        yield {"query": random(dim), "key": random(dim), "value": random(dim)}


def split_cases(random):
    for shape in [(9, 3), (12, 4), (6,)]:
        yield {"stacked": random(*shape)}


def stack_reference(query, key, value):
    return torch.stack([row for part in (query, key, value) for row in part])


def split_reference(stacked):
    dim = len(stacked) // 3
    return tuple(torch.stack([stacked[part * dim + row] for row in range(dim)]) for part in range(3))


STACK_QKV_MISTAKES = [
    Mistake("the rows in the order k, q, v", lambda q, k, v: torch.cat([k, q, v]), fix="q, k, v."),
    Mistake("the rows in the order v, k, q", lambda q, k, v: torch.cat([v, k, q]), fix="q, k, v."),
    Mistake("the rows in the order q, v, k", lambda q, k, v: torch.cat([q, v, k]), fix="q, k, v."),
    Mistake("the three side by side: joined along the columns", lambda q, k, v: torch.cat([q, k, v], dim=-1),
            fix="dim=0."),
    Mistake("the three on a new axis: (3, D, D)", lambda q, k, v: torch.stack([q, k, v]),
            fix="torch.cat adds no axis."),
    Mistake("rows taken in turn: q's first, k's first, v's first, q's second ...",
            lambda q, k, v: torch.stack([q, k, v], dim=1).flatten(0, 1), fix="All rows of q first."),
    Mistake("the rows of the transposed weights",
            lambda q, k, v: torch.cat([q.T, k.T, v.T]) if q.ndim == 2 else torch.cat([q, k, v])),
]

SPLIT_QKV_MISTAKES = [
    Mistake("every third row instead of three blocks of rows", lambda s: (s[0::3], s[1::3], s[2::3]), fix="chunk(3)."),
    Mistake("the three in the order v, k, q", lambda s: s.chunk(3)[::-1]),
    Mistake("the three in the order k, q, v", lambda s: [s.chunk(3)[i] for i in (1, 0, 2)]),
    Mistake("three blocks of columns instead of rows", lambda s: s.tensor_split(3, dim=-1),
            fix="chunk(3) cuts axis 0."),
    Mistake("pieces of three rows: split(3) instead of chunk(3)", lambda s: s.split(3),
            fix="chunk(3) makes three pieces."),
]

TASKS = [
    Task("stack_qkv", stack_cases, reference=stack_reference, mistakes=STACK_QKV_MISTAKES,
         gradients=("query", "key", "value"), like="rows under rows"),
    Task("split_qkv", split_cases, reference=split_reference, mistakes=SPLIT_QKV_MISTAKES, gradients=(),
         like="rows under rows"),
]


# %% hints
HINTS = [
    ("Stack or cat?", "`torch.stack` makes a new axis, `torch.cat` puts rows under rows. Here no axis is added."),
    ("The order", "q, k, v from top to bottom: rows 0 to D - 1 are the query's."),
    ("Splitting a bias fails", "`chunk(3)` cuts the first axis, whatever follows it."),
]
