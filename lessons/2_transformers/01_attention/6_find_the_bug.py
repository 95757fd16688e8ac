"""Find the bug: multi-head attention  (10 minutes, difficulty 3 of 5)

This function runs, its shapes are all right, its weights sum to one, and it
is wrong: one line is not what `torch.nn.MultiheadAttention` does. Find the
line and repair it. A debugger, and numbers small enough to follow by hand,
are better helpers than staring.
"""

import torch
from einops import einsum, rearrange


# %% given: with its bug
def self_attention(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    """x (B, N, D), qkv_weight (3D, D), qkv_bias (3D), out_weight (D, D), out_bias (D) -> (B, N, D)."""
    qkv = x @ qkv_weight.T + qkv_bias
    q, k, v = rearrange(qkv, "b n (three heads d) -> three b heads n d", three=3, heads=num_heads)
    scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * q.shape[-1] ** -0.5
    weights = scores.softmax(dim=-1)
    mixed = einsum(weights, v, "b heads i j, b heads j d -> b heads i d")
    merged = rearrange(mixed, "b heads n d -> b n (d heads)")
    return merged @ out_weight.T + out_bias


# %% solution
def self_attention(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    qkv = x @ qkv_weight.T + qkv_bias
    q, k, v = rearrange(qkv, "b n (three heads d) -> three b heads n d", three=3, heads=num_heads)
    scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * q.shape[-1] ** -0.5
    weights = scores.softmax(dim=-1)
    mixed = einsum(weights, v, "b heads i j, b heads j d -> b heads i d")
    merged = rearrange(mixed, "b heads n d -> b n (heads d)")
    return merged @ out_weight.T + out_bias


# %% check: self-attention against torch.nn.MultiheadAttention
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, heads, d in [(2, 4, 2, 3), (3, 5, 3, 4), (2, 3, 4, 2)]:
        dim = heads * d
        weights = {"qkv_weight": random(3 * dim, dim), "qkv_bias": random(3 * dim)}
        yield {
            "x": random(batch, n, dim),
            **weights,
            "out_weight": random(dim, dim),
            "out_bias": random(dim),
            "num_heads": heads,
        }


def reference(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    layer = nn.MultiheadAttention(x.shape[-1], num_heads, batch_first=True, dtype=torch.float64)
    named = {
        "in_proj_weight": qkv_weight,
        "in_proj_bias": qkv_bias,
        "out_proj.weight": out_weight,
        "out_proj.bias": out_bias,
    }
    return torch.func.functional_call(layer, named, (x, x, x), {"need_weights": False})[0]


def flawed(
    x,
    qkv_weight,
    qkv_bias,
    out_weight,
    out_bias,
    num_heads,
    merge="heads d",
    split="three heads d",
    scale=True,
    axis=-1,
    turned=True,
):
    qkv = x @ qkv_weight.T + qkv_bias
    q, k, v = rearrange(qkv, f"b n ({split}) -> three b heads n d", three=3, heads=num_heads)
    weights = (q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale else 1)).softmax(dim=axis)
    merged = rearrange(weights @ v, f"b heads n d -> b n ({merge})")
    return merged @ (out_weight.T if turned else out_weight) + out_bias


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", merge="d heads"),
    Mistake("the reference with heads cut as (d heads) and merged as (d heads): the other half was bent to fit",
            merge="d heads", split="three d heads", fix="Cutting was right; merge in the same order."),
    Mistake("the reference with heads cut as (three d heads): that line was right", split="three d heads"),
    Mistake("the reference without the 1/sqrt(head_dim) scale: that line was right", scale=False),
    Mistake("the reference with the softmax over the queries: that line was right", axis=-2),
    Mistake("the reference with out_weight not transposed: that line was right", turned=False),
]

TASKS = [
    Task("self_attention", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("x", "qkv_weight", "out_weight"), like="torch.nn.MultiheadAttention",
         forbidden=("scaled_dot_product_attention", "MultiheadAttention", "multi_head_attention_forward")),
]


# %% hints
HINTS = [
    ("Where to look",
     "Which lines could be wrong without changing a shape? Those that order the numbers inside an axis."),
    ("Try it small",
     "With `num_heads = 1` the function is right, and with d = 1 too. Which line does nothing in both cases?"),
    ("The line", "The heads were cut as (heads d). How are they put together again?"),
]
