"""2.1.2  Scaled dot-product attention  (10 minutes, difficulty 2 of 5)

Each query is compared with all keys; the softmax of the scaled scores says
how much of each value it takes (Vaswani et al. 2017, eq. 1). Like
`torch.nn.functional.scaled_dot_product_attention(q, k, v)`, spelled out.

    attention(q, k, v) = softmax(q k^T / sqrt(d)) v

There may be more or fewer keys M than queries N, and the values may have
another width E than the keys.
"""

import torch
from einops import einsum, rearrange


def attention(q, k, v):
    """q (B, heads, N, d), k (B, heads, M, d), v (B, heads, M, E) -> (B, heads, N, E)."""
    raise NotImplementedError
