"""Pool at the end of text  (5 minutes, difficulty 1 of 5)

A causal tower has read the whole text only when it reaches the end-of-text
token, so that token's answer stands for the text. End of text is the
largest id of the vocabulary; where it occurs twice, the first one counts.
Behind it come padding zeros. Like `text_global_pool` of open_clip with
`pool_type="argmax"`.
"""

import torch


# %% solution
def pool_end_of_text(tokens, ids):
    """tokens (T, N, D), ids (T, N) of whole numbers -> (T, D)."""
    return tokens[torch.arange(len(ids)), ids.argmax(dim=-1)]


# %% check: pooled tokens against a loop over texts
from lessons.checker import Mistake, Task


def cases(random):
    for texts, n, dim in [(2, 5, 3), (4, 7, 4), (3, 3, 6)]:
        ids = random.integers(1, 90, texts, n)
        ends = random.integers(1, n, texts)
        ends[0], ends[1] = 1, n - 1
        for row, end in zip(ids, ends.tolist()):
            row[end] = 99
            row[end + 1 :] = 0
        yield {"tokens": random(texts, n, dim), "ids": ids}
    twice = torch.tensor([[98, 5, 99, 7, 99, 0], [98, 99, 99, 99, 99, 99]])  # the first one counts
    yield {"tokens": random(2, 6, 3), "ids": twice}


def reference(tokens, ids):
    pooled = []
    for text, row in zip(tokens, ids.tolist()):
        pooled.append(text[row.index(max(row))])
    return torch.stack(pooled)


def at(place):
    return lambda tokens, ids: tokens[torch.arange(len(ids)), place(ids)]


def last_of(ids):
    return ids.shape[1] - 1 - ids.flip(1).argmax(dim=1)


MISTAKES = [
    Mistake("the last token of each row, which is padding in most of them", lambda tokens, ids: tokens[:, -1]),
    Mistake("the first token: in a causal tower it has seen nothing", lambda tokens, ids: tokens[:, 0]),
    Mistake("the mean over all tokens", lambda tokens, ids: tokens.mean(dim=1), fix="Take one token."),
    Mistake("the token before end of text", at(lambda ids: ids.argmax(dim=1) - 1), fix="argmax is the place itself."),
    Mistake("the token behind end of text", at(lambda ids: (ids.argmax(dim=1) + 1).clamp(max=ids.shape[1] - 1))),
    Mistake("the last end of text where there are two", at(last_of), fix="The first one counts, as argmax has it."),
    Mistake("every text pooled where the first text ends", lambda tokens, ids: tokens[:, ids[0].argmax()],
            fix="Each text has its own place: index with torch.arange(T) and the places."),
    Mistake("the largest value of each number over the tokens", lambda tokens, ids: tokens.amax(dim=1)),
]

TASKS = [
    Task("pool_end_of_text", cases, reference=reference, mistakes=MISTAKES, gradients=("tokens",),
         like="open_clip's text_global_pool"),
]


# %% hints
HINTS = [
    ("Where is it?",
     "`ids.argmax(dim=-1)` gives each text's place of the largest id, the first one where there are two."),
    ("(T, T, D) comes out",
     "`tokens[:, places]` takes every place of every text. Count the texts too: `tokens[torch.arange(T), places]`."),
    ("Right for one text only", "Each text has its own place."),
]
