"""2.1.6  Find the bug: multi-head attention  (10 minutes, difficulty 3 of 5)

This function runs, its shapes are all right, its weights sum to one, and it
is wrong: one line is not what `torch.nn.MultiheadAttention` does. Find the
line and repair it. A debugger, and numbers small enough to follow by hand,
are better helpers than staring.
"""

import torch
from einops import einsum, rearrange


def self_attention(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    """x (B, N, D), qkv_weight (3D, D), qkv_bias (3D), out_weight (D, D), out_bias (D) -> (B, N, D)."""
    qkv = x @ qkv_weight.T + qkv_bias
    q, k, v = rearrange(qkv, "b n (three heads d) -> three b heads n d", three=3, heads=num_heads)
    scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * q.shape[-1] ** -0.5
    weights = scores.softmax(dim=-1)
    mixed = einsum(weights, v, "b heads i j, b heads j d -> b heads i d")
    merged = rearrange(mixed, "b heads n d -> b n (d heads)")
    return merged @ out_weight.T + out_bias
