"""The check of 3.2.3: embedded ids against torch.nn.functional.embedding and a loop over places."""

import torch
import torch.nn.functional as F

from lessons.checker import Mistake, Task

HINTS = [
    ("How to look up", "A tensor of ids is an index: `token_table[ids]` has the shape (T, N, D)."),
    ("The sizes do not fit", "Only the first N positions: `pos[: ids.shape[1]]`."),
    ("Shifted by one", "The start-of-text token stands at place 0."),
]


def embed_text(ids, token_table, pos):
    return token_table[ids] + pos[: ids.shape[1]]


def cases(random):
    for texts, n, vocabulary, context, dim in [(2, 4, 10, 7, 3), (3, 5, 8, 5, 4), (2, 1, 6, 8, 5)]:
        ids = random.integers(0, min(vocabulary, context), texts, n)
        yield {"ids": ids, "token_table": random(vocabulary, dim), "pos": random(context, dim)}


def reference(ids, token_table, pos):
    columns = [F.embedding(ids[:, place], token_table) + pos[place] for place in range(ids.shape[1])]
    return torch.stack(columns, dim=1)


def flawed(ids, token_table, pos, place=lambda ids, n, last: torch.arange(n), factor=1.0, weight=1.0):
    chosen = pos[place(ids, ids.shape[1], len(pos) - 1)]
    return token_table[ids] * factor**0.5 + weight * chosen


TASKS = [
    Task(
        "embed_text",
        cases,
        reference=reference,
        like="torch.nn.functional.embedding plus positions",
        gradients=("token_table", "pos"),
        mistakes=[
            Mistake(
                "the tokens with positions off by one: counted from 1",
                flawed,
                place=lambda ids, n, last: (torch.arange(n) + 1).clamp(max=last),
                fix="The first token has row 0 of pos.",
            ),
            Mistake("the tokens without positions", flawed, weight=0.0),
            Mistake(
                "the tokens with positions looked up by id", flawed, place=lambda ids, n, last: ids, fix="pos[: N]."
            ),
            Mistake(
                "the tokens with the last rows of pos",
                flawed,
                place=lambda ids, n, last: torch.arange(last + 1 - n, last + 1),
            ),
            Mistake(
                "the tokens with positions counted from the end",
                flawed,
                place=lambda ids, n, last: torch.arange(n).flip(0),
            ),
            Mistake(
                "the tokens with the position of place 0 everywhere",
                flawed,
                place=lambda ids, n, last: torch.zeros(n).long(),
            ),
            Mistake(
                "the tokens with embeddings multiplied by sqrt(D), as in the first Transformer",
                lambda ids, table, pos: flawed(ids, table, pos, factor=table.shape[1]),
                fix="CLIP adds them as they are.",
            ),
        ],
    )
]
