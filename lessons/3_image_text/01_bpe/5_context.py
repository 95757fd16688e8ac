"""A row of fixed length  (10 minutes, difficulty 1 of 5)

The text tower takes rows of `context_length` ids: start of text, the
text's ids, end of text, then zeros. A text that is too long is cut, and
the last id of the row is still end of text. Like the tokenizer of
open_clip.

    to_context([5, 6], start=98, end=99, context_length=6)
        -> tensor([98, 5, 6, 99, 0, 0])
"""

import torch


# %% solution
def to_context(ids, start, end, context_length):
    """A list of ids, two special ids, a length -> int64 tensor (context_length)."""
    kept = [start, *ids[: context_length - 2], end]
    row = torch.zeros(context_length, dtype=torch.long)
    row[: len(kept)] = torch.tensor(kept)
    return row


# %% check: padded and cut rows against a loop over places
from lessons.checker import Mistake, Task


def cases(random):
    for count, length in [(2, 6), (0, 4), (4, 6), (5, 6), (9, 6), (1, 77)]:
        yield {"ids": random.integers(1, 90, count).tolist(), "start": 98, "end": 99, "context_length": length}


def reference(ids, start, end, context_length):
    row = []
    for place in range(context_length):
        if place == 0:
            row.append(start)
        elif place <= len(ids) and place < context_length - 1:
            row.append(ids[place - 1])
        elif place == min(len(ids) + 1, context_length - 1):
            row.append(end)
        else:
            row.append(0)
    return torch.tensor(row)


def fill(kept, length, padding=0):
    return torch.tensor((kept + [padding] * length)[:length])


MISTAKES = [
    Mistake("the row in which a long text loses its end of text",
            lambda ids, start, end, length: fill([start, *ids, end], length),
            fix="Cut the ids to context_length - 2 first."),
    Mistake("the row padded with end of text instead of 0",
            lambda ids, start, end, length: fill([start, *ids[: length - 2], end], length, end)),
    Mistake("the row without start of text", lambda ids, start, end, length: fill([*ids[: length - 1], end], length)),
    Mistake("the row without end of text", lambda ids, start, end, length: fill([start, *ids[: length - 1]], length)),
    Mistake("the row with end of text in the last place, behind the padding",
            lambda ids, start, end, length: torch.cat([fill([start, *ids], length - 1), torch.tensor([end])]),
            fix="It follows the text at once; the zeros come behind it."),
    Mistake("the row with one id less of a long text than fits",
            lambda ids, start, end, length: fill([start, *ids[: length - 3], end], length),
            fix="context_length - 2 ids fit."),
    Mistake("the row in which a long text keeps its last ids instead of its first ones",
            lambda ids, start, end, length: fill(
                [start, *(ids[2 - length :] if len(ids) > length - 2 else ids), end], length
            )),
    Mistake("the row padded in front",
            lambda ids, start, end, length: fill([start, *ids[: length - 2], end][::-1], length).flip(0)),
]

TASKS = [
    Task("to_context", cases, reference=reference, mistakes=MISTAKES, like="open_clip's tokenizer"),
]


# %% hints
HINTS = [
    ("Where to begin", "`torch.zeros(context_length, dtype=torch.long)`, then write the ids into its beginning."),
    ("Long texts lose their end", "Cut the text's ids to `context_length - 2` before start and end are added."),
    ("float32 came back", "Ids are whole numbers: `dtype=torch.long`."),
]
