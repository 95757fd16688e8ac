"""Other right answers to the exercises of lesson 3.12: torch's own layers, loops, counting from the end."""

import torch
import torch.nn.functional as F

from tests.lessons.alternatives import honest


@honest("3.12.1")
def text_head(tokens, w1, w2):
    """The GELU by its definition, the products by `linear`."""
    hidden = F.linear(tokens.select(1, 0), w1)
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    return F.linear(hidden, w2)


@honest("3.12.2")
def frame(pieces, vocabulary, context):
    """Filled into a row of padding."""
    row = torch.full((context,), vocabulary.index("[PAD]"))
    framed = ["[CLS]", *pieces[: context - 2], "[SEP]"]
    for place, piece in enumerate(framed):
        row[place] = vocabulary.index(piece if piece in vocabulary else "[UNK]")
    return row


@honest("3.12.3")
def trim(ids, pad):
    """Columns fall off at the right as long as they hold padding alone."""
    while ids.shape[1] and bool((ids[:, -1] == pad).all()):
        ids = ids[:, :-1]
    return {"ids": ids, "mask": ids.ne(pad)}
