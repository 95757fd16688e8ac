"""3.2.5  The text tower, forward  (20 minutes, difficulty 3 of 5)

Everything between ids and embedding. `parts` is a dict:

    "token_table"   (vocabulary, D)
    "pos"           (context, D)
    "blocks"        a list of functions (x, mask) -> x; mask (N, N) is True
                    where a token may look
    "norm"          a function on tokens, used once, behind the blocks
    "projection"    (D, E), applied as token @ projection

The tower is causal, and pooled at the first end of text, the largest id.
Hand in {"embedded": tokens before the blocks, "encoded": tokens after the
norm, "embedding": (T, E)}.
"""

import torch


def text_tower(ids, parts):
    """ids (T, N) -> dict with embedded, encoded (T, N, D) and embedding (T, E)."""
    raise NotImplementedError
