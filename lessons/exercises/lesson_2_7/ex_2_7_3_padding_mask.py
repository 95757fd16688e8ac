"""2.7.3  Hide the padding  (15 minutes, difficulty 3 of 5)

Attention over a batch of sentences of different lengths. `mask` has 1 for a
token and 0 for padding; no token may look at padding. Hand in both steps:

    "weights"   (B, H, N, N)   row i: how much token i takes from each token j
    "output"    (B, H, N, d)   the mixed values

The weights on padding are exactly 0, and each row sums to 1. What padding
itself looks at does not matter to anybody, but the reference computes it:
it sees the real tokens. Like `torch.nn.functional
.scaled_dot_product_attention` with its `attn_mask`, which you may not call.
"""

import torch


def padded_attention(q, k, v, mask):
    """q, k, v (B, H, N, d) and mask (B, N) of 0 and 1 -> dict with weights and output."""
    raise NotImplementedError
