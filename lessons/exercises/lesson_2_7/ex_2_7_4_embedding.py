"""2.7.4  What the first block reads  (10 minutes, difficulty 2 of 5)

BERT's embedding: for each token the sum of three table rows (its word, its
position 0, 1, 2 ..., its type), then a LayerNorm with eps 1e-12 over the D
numbers of each token, with gain and bias. `token_types` may be None: then
all tokens are of type 0. Like `BertEmbeddings` in transformers.

`tables` is a dict: "words" (V, D), "positions" (P, D), "types" (2, D),
"gain" (D), "bias" (D). `torch.nn.functional.layer_norm` is allowed.
"""

import torch
import torch.nn.functional as F


def embed(ids, token_types, tables):
    """ids (B, N) int64, token_types (B, N) int64 or None, a dict of tables -> (B, N, D)."""
    raise NotImplementedError
