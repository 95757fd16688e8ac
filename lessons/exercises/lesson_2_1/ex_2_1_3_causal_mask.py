"""2.1.3  The causal mask  (10 minutes, difficulty 2 of 5)

A text tower may not look ahead: token i sees tokens 0 to i. Write the mask,
and the attention that obeys any mask.

`causal_mask` is like `torch.ones(N, N, dtype=torch.bool).tril()`;
`masked_attention` is like
`torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)`.
"""

import torch
from einops import einsum, rearrange


def causal_mask(num_tokens):
    """-> (N, N) of True and False: row i is True where token i may look."""
    raise NotImplementedError


def masked_attention(q, k, v, mask):
    """q, k, v (B, heads, N, d); mask (N, N) or (B, 1, N, N), True where a query may look -> (B, heads, N, d)."""
    raise NotImplementedError
