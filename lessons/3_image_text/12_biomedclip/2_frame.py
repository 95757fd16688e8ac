"""A row of ids from any vocabulary  (15 minutes, difficulty 2 of 5)

`pieces` are a text, cut already. `vocabulary` is the list of a vocab.txt: a
piece's id is its place. Make the row that BERT reads: [CLS], the pieces,
[SEP], then [PAD] up to `context` ids. A piece that the vocabulary lacks is
[UNK]. Too many pieces are cut so that [SEP] still stands at the end. The
special pieces stand somewhere in the list, in each vocabulary elsewhere.
Like transformers' `BertTokenizer(..., padding="max_length", truncation=True)`.

    frame(["a", "lung"], ["[UNK]", "lung", "a", "[SEP]", "[PAD]", "[CLS]"], 6)
        -> tensor([5, 2, 1, 3, 4, 4])
"""

import torch


# %% solution
def frame(pieces, vocabulary, context):
    """List of str, list of str, number of ids, at least 2 -> int64 (context,)."""
    ids = {piece: number for number, piece in enumerate(vocabulary)}
    kept = [ids.get(piece, ids["[UNK]"]) for piece in pieces[: context - 2]]
    row = [ids["[CLS]"], *kept, ids["[SEP]"]]
    return torch.tensor(row + [ids["[PAD]"]] * (context - len(row)))


# %% check: the row against transformers' BertTokenizer with the same vocabulary
from lessons.checker import Mistake, Task

WORDS = "a lung heart cell the of node".split()
VOCABULARIES = [
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS],
    [*WORDS, "[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]"],
    ["[PAD]", *(f"[unused{n}]" for n in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS],
]


def cases(random):
    for vocabulary in VOCABULARIES:
        for text in ("a lung", "", "the heart of a cell", "the moon of a node", "lung " * 12):
            for context in (3, 7, 12):
                yield {"pieces": text.split(), "vocabulary": vocabulary, "context": context}


def reference(pieces, vocabulary, context):
    from transformers import BertTokenizer

    theirs = BertTokenizer(vocab={piece: number for number, piece in enumerate(vocabulary)})
    ids = theirs(" ".join(pieces), max_length=context, padding="max_length", truncation=True)["input_ids"]
    return torch.tensor(ids)


def flawed(pieces, vocabulary, context, fixed=(), pad="[PAD]", cut=2, end=True, start=True, last=False, drop=False):
    ids = {piece: number for number, piece in enumerate(vocabulary)} | dict(fixed)
    known = [piece for piece in pieces if piece in ids] if drop else pieces
    kept = [ids.get(piece, ids["[UNK]"]) for piece in known[: context - cut]]
    row = ([ids["[CLS]"]] if start else []) + kept
    filler = [ids[pad]] * max(context - len(row) - 1, 0)
    row = row + filler + [ids["[SEP]"]] if last else row + ([ids["[SEP]"]] if end else [])
    row = (row + [ids[pad]] * max(context - len(row), 0))[:context]
    return torch.tensor(row)


BERTS = (("[PAD]", 0), ("[UNK]", 100), ("[CLS]", 101), ("[SEP]", 102))
MISTAKES = [
    Mistake("the row with the ids of bert-base-uncased written down (0, 100, 101, 102)", fixed=BERTS,
            fix="Look each special piece up in this vocabulary."),
    Mistake("the row padded with 0, whatever stands there", fixed=(("[PAD]", 0),), fix="Look [PAD] up as well."),
    Mistake("the row padded with [SEP]", pad="[SEP]"),
    Mistake("the row that loses its [SEP] when it is cut", cut=1, fix="Cut the pieces to context - 2."),
    Mistake("the row without [SEP]", end=False),
    Mistake("the row without [CLS]", start=False, cut=1),
    Mistake("the row with [SEP] at its very end, behind the padding", last=True, fix="[SEP] follows the last piece."),
    Mistake("the row that leaves unknown pieces out", drop=True, fix="They become [UNK]."),
    Mistake("the row cut one piece too early", cut=3, fix="Two places are taken: context - 2 are left."),
]

TASKS = [
    Task("frame", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="transformers' BertTokenizer"),
]


# %% hints
HINTS = [
    ("Right for one vocabulary only", "No number may stand in your code: build `{piece: place}` and look all up."),
    ("A long text ends without [SEP]", "Cut the pieces before you frame them, to `context - 2`."),
    ("KeyError", "A piece that is not in the vocabulary is [UNK]: `ids.get(piece, ids['[UNK]'])`."),
]
