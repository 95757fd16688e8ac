"""The check of 2.4.1: stacked rows against loops over rows."""

import torch

from lessons.checker import Mistake, Task

HINTS = [
    ("Stack or cat?", "`torch.stack` makes a new axis, `torch.cat` puts rows under rows. Here no axis is added."),
    ("The order", "q, k, v from top to bottom: rows 0 to D - 1 are the query's."),
    ("Splitting a bias fails", "`chunk(3)` cuts the first axis, whatever follows it."),
]


def stack_qkv(query, key, value):
    return torch.cat([query, key, value])


def split_qkv(stacked):
    return stacked.chunk(3)


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


TASKS = [
    Task(
        "stack_qkv",
        stack_cases,
        reference=stack_reference,
        like="rows under rows",
        gradients=("query", "key", "value"),
        mistakes=[
            Mistake("the rows in the order k, q, v", lambda q, k, v: torch.cat([k, q, v]), fix="q, k, v."),
            Mistake("the rows in the order v, k, q", lambda q, k, v: torch.cat([v, k, q]), fix="q, k, v."),
            Mistake("the rows in the order q, v, k", lambda q, k, v: torch.cat([q, v, k]), fix="q, k, v."),
            Mistake(
                "the three side by side: joined along the columns",
                lambda q, k, v: torch.cat([q, k, v], dim=-1),
                fix="dim=0.",
            ),
            Mistake(
                "the three on a new axis: (3, D, D)",
                lambda q, k, v: torch.stack([q, k, v]),
                fix="torch.cat adds no axis.",
            ),
            Mistake(
                "rows taken in turn: q's first, k's first, v's first, q's second ...",
                lambda q, k, v: torch.stack([q, k, v], dim=1).flatten(0, 1),
                fix="All rows of q first.",
            ),
            Mistake(
                "the rows of the transposed weights",
                lambda q, k, v: torch.cat([q.T, k.T, v.T]) if q.ndim == 2 else torch.cat([q, k, v]),
            ),
        ],
    ),
    Task(
        "split_qkv",
        split_cases,
        reference=split_reference,
        like="rows under rows",
        gradients=(),
        mistakes=[
            Mistake(
                "every third row instead of three blocks of rows",
                lambda s: (s[0::3], s[1::3], s[2::3]),
                fix="chunk(3).",
            ),
            Mistake("the three in the order v, k, q", lambda s: s.chunk(3)[::-1]),
            Mistake("the three in the order k, q, v", lambda s: [s.chunk(3)[i] for i in (1, 0, 2)]),
            Mistake(
                "three blocks of columns instead of rows",
                lambda s: s.tensor_split(3, dim=-1),
                fix="chunk(3) cuts axis 0.",
            ),
            Mistake(
                "pieces of three rows: split(3) instead of chunk(3)",
                lambda s: s.split(3),
                fix="chunk(3) makes three pieces.",
            ),
        ],
    ),
]
