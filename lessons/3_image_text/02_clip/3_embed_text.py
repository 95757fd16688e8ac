"""Ids become tokens  (5 minutes, difficulty 1 of 5)

Look each id up in the table of token embeddings, and add the position's
learned vector. A row may be shorter than the context: then the first rows
of the position table are used. Like CLIPTextEmbeddings in transformers.
"""

import torch


# %% solution
def embed_text(ids, token_table, pos):
    """ids (T, N), token_table (vocabulary, D), pos (context, D) with N <= context -> (T, N, D)."""
    return token_table[ids] + pos[: ids.shape[1]]


# %% check: embedded ids against torch.nn.functional.embedding and a loop over places
import torch.nn.functional as F

from lessons.checker import Mistake, Task


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


MISTAKES = [
    Mistake("the tokens with positions off by one: counted from 1",
            place=lambda ids, n, last: (torch.arange(n) + 1).clamp(max=last), fix="The first token has row 0 of pos."),
    Mistake("the tokens without positions", weight=0.0),
    Mistake("the tokens with positions looked up by id", place=lambda ids, n, last: ids, fix="pos[: N]."),
    Mistake("the tokens with the last rows of pos", place=lambda ids, n, last: torch.arange(last + 1 - n, last + 1)),
    Mistake("the tokens with positions counted from the end", place=lambda ids, n, last: torch.arange(n).flip(0)),
    Mistake("the tokens with the position of place 0 everywhere", place=lambda ids, n, last: torch.zeros(n).long()),
    Mistake("the tokens with embeddings multiplied by sqrt(D), as in the first Transformer",
            lambda ids, table, pos: flawed(ids, table, pos, factor=table.shape[1]), fix="CLIP adds them as they are."),
]

TASKS = [
    Task("embed_text", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("token_table", "pos"),
         like="torch.nn.functional.embedding plus positions"),
]


# %% hints
HINTS = [
    ("How to look up", "A tensor of ids is an index: `token_table[ids]` has the shape (T, N, D)."),
    ("The sizes do not fit", "Only the first N positions: `pos[: ids.shape[1]]`."),
    ("Shifted by one", "The start-of-text token stands at place 0."),
]
