"""Attention weights, to look at  (15 minutes, difficulty 3 of 5)

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


# %% solution
def attention_map(x, qkv_weight, qkv_bias, num_heads):
    """x (B, N, D), qkv_weight (3D, D), qkv_bias (3D) -> dict with q, k, scores, weights."""
    qkv = x @ qkv_weight.T + qkv_bias  # (B, N, 3 D)
    q, k, _ = rearrange(qkv, "b n (three heads d) -> three b heads n d", three=3, heads=num_heads)
    scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * q.shape[-1] ** -0.5
    return {"q": q, "k": k, "scores": scores, "weights": scores.softmax(dim=-1)}


# %% check: the weights against torch.nn.MultiheadAttention, the steps against slices
import torch.nn.functional as F
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, heads, d in [(2, 4, 2, 3), (3, 5, 3, 4), (2, 6, 1, 5), (2, 3, 4, 4)]:
        dim = heads * d
        yield {
            "x": random(batch, n, dim),
            "qkv_weight": random(3 * dim, dim),
            "qkv_bias": random(3 * dim),
            "num_heads": heads,
        }


def reference(x, qkv_weight, qkv_bias, num_heads):
    dim = x.shape[-1]
    d = dim // num_heads
    q, k, _ = F.linear(x, qkv_weight, qkv_bias).split(dim, dim=-1)
    q = torch.stack(q.split(d, dim=-1), dim=1)
    k = torch.stack(k.split(d, dim=-1), dim=1)
    scores = torch.matmul(q, k.mT) / d**0.5
    layer = nn.MultiheadAttention(dim, num_heads, batch_first=True, dtype=torch.float64)
    named = {"in_proj_weight": qkv_weight, "in_proj_bias": qkv_bias}
    named |= {
        "out_proj.weight": torch.eye(dim, dtype=torch.float64),
        "out_proj.bias": torch.zeros(dim, dtype=torch.float64),
    }
    _, weights = torch.func.functional_call(layer, named, (x, x, x), {"average_attn_weights": False})
    return {"q": q, "k": k, "scores": scores, "weights": weights}


def flawed(
    x,
    qkv_weight,
    qkv_bias,
    num_heads,
    bias=1,
    order="three heads d",
    scale="head_dim",
    axis=-1,
    swapped=False,
    mean=False,
):
    qkv = x @ qkv_weight.T + bias * qkv_bias
    axes = {"three": 3, "heads": num_heads}
    q, k, v = rearrange(qkv, f"b n ({order}) -> three b heads n d", **axes)
    if swapped:
        q, k = k, q
    factor = {"head_dim": q.shape[-1], "dim": x.shape[-1], "none": 1}[scale] ** -0.5
    scores = q @ k.transpose(-2, -1) * factor
    weights = scores.softmax(dim=axis)
    return {"q": q, "k": k, "scores": scores, "weights": weights.mean(dim=1) if mean else weights}


MISTAKES = [
    Mistake("the reference without the 1/sqrt(head_dim) scale", scale="none"),
    Mistake("the reference scaled by 1/sqrt(D) instead of 1/sqrt(head_dim)", scale="dim",
            fix="Divide by the root of D / heads."),
    Mistake("the reference without the bias of q, k and v", bias=0, fix="Add qkv_bias."),
    Mistake("the reference with the rows read as (heads three d): q, k, v inside each head", order="heads three d",
            fix="Cut into q, k, v first, then each of them into heads: (three heads d)."),
    Mistake("the reference with heads that take every heads-th number: (three d heads)", order="three d heads"),
    Mistake("the reference with q and k swapped", swapped=True, fix="q comes first, then k, then v."),
    Mistake("the reference with the softmax over the queries", axis=-2, fix="Use dim=-1, the keys."),
    Mistake("the mean over the heads instead of each head's weights", mean=True),
]

TASKS = [
    Task("attention_map", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("x", "qkv_weight"),
         like="torch.nn.MultiheadAttention",
         forbidden=("scaled_dot_product_attention", "MultiheadAttention", "multi_head_attention_forward")),
]


# %% hints
HINTS = [
    ("The product with `qkv_weight` does not fit",
     "A linear layer multiplies by the transpose: `F.linear(x, weight, bias)`, or `x @ weight.T + bias`."),
    ("q is wrong",
     "The 3D columns are q, k, v one after the other, and inside each of them head after head: `rearrange(qkv, 'b n "
     "(three heads d) -> three b heads n d', three=3, heads=num_heads)`."),
    ("The scores are off by a constant factor", "The scale is `1 / sqrt(d)` with d = D / heads, not with D."),
]
