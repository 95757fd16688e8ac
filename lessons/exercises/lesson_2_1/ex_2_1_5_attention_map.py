"""2.1.5  Attention weights, to look at  (15 minutes, difficulty 3 of 5)

The fused kernel hides its weights. Compute them in the open, for a figure:
from tokens x and the joint projection of q, k and v. Like the second result
of `torch.nn.MultiheadAttention(x, x, x, average_attn_weights=False)`.

Rows 0 to D-1 of `qkv_weight` make q, the next D rows k, the last D rows v:
`qkv = x @ qkv_weight.T + qkv_bias`. Hand in the steps as a dict:

    "q", "k"     (B, heads, N, d)     before any scale
    "scores"     (B, heads, N, N)     scaled
    "weights"    (B, heads, N, N)     each row sums to one
"""

import torch
from einops import einsum, rearrange


def attention_map(x, qkv_weight, qkv_bias, num_heads):
    """x (B, N, D), qkv_weight (3D, D), qkv_bias (3D) -> dict with q, k, scores, weights."""
    raise NotImplementedError
