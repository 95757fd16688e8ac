"""Scaled dot-product attention  (10 minutes, difficulty 2 of 5)

Each query is compared with all keys; the softmax of the scaled scores says
how much of each value it takes (Vaswani et al. 2017, eq. 1). Like
`torch.nn.functional.scaled_dot_product_attention(q, k, v)`, spelled out.

    attention(q, k, v) = softmax(q k^T / sqrt(d)) v

There may be more or fewer keys M than queries N, and the values may have
another width E than the keys.
"""

import torch
from einops import einsum, rearrange


# %% solution
def attention(q, k, v):
    """q (B, heads, N, d), k (B, heads, M, d), v (B, heads, M, E) -> (B, heads, N, E)."""
    scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * q.shape[-1] ** -0.5
    return einsum(scores.softmax(dim=-1), v, "b heads i j, b heads j e -> b heads i e")


# %% check: attention against torch.nn.functional.scaled_dot_product_attention
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, heads, n, m, d, e in [(2, 1, 3, 3, 4, 4), (2, 3, 5, 7, 8, 6), (3, 2, 4, 4, 4, 4), (2, 2, 1, 5, 3, 2)]:
        yield {"q": random(batch, heads, n, d), "k": random(batch, heads, m, d), "v": random(batch, heads, m, e)}


def flawed(q, k, v, scale="head_dim", axis=-1, when="before", normalised=True):
    factor = {"head_dim": q.shape[-1], "none": 1, "all": q.shape[1] * q.shape[-1], "keys": k.shape[-2]}.get(
        scale, 1
    ) ** -0.5
    if scale == "no root":
        factor = 1 / q.shape[-1]
    if scale == "times":
        factor = q.shape[-1] ** 0.5
    scores = q @ k.transpose(-2, -1)
    if when == "before":
        scores = scores * factor
    weights = scores.softmax(dim=axis) if normalised else scores
    if when == "after":
        weights = weights * factor
    return weights @ v


MISTAKES = [
    Mistake("the reference without the 1/sqrt(head_dim) scale", scale="none",
            fix="Multiply the scores by head_dim**-0.5 before the softmax; head_dim is q.shape[-1]."),
    Mistake("the reference with 1/head_dim as scale: the root is missing", scale="no root"),
    Mistake("the reference with the scale upside down: sqrt(head_dim) multiplies instead of dividing", scale="times"),
    Mistake("the reference scaled by 1/sqrt(heads * head_dim), the whole width", scale="all",
            fix="Each head compares vectors of head_dim numbers: scale by its root."),
    Mistake("the reference scaled by 1/sqrt(number of keys)", scale="keys", fix="Use q.shape[-1], not k.shape[-2]."),
    Mistake("the reference with the softmax over the queries instead of the keys", axis=-2,
            fix="Use dim=-1, the axis of the keys, so that each query's weights sum to one."),
    Mistake("the reference with the softmax over the heads", axis=1, fix="Use dim=-1, the axis of the keys."),
    Mistake("the reference scaled after the softmax instead of before it", when="after"),
    Mistake("the reference without the softmax", normalised=False),
]

TASKS = [
    Task("attention", cases, reference=F.scaled_dot_product_attention, flawed=flawed, mistakes=MISTAKES,
         gradients=("q", "k", "v"), like="torch.nn.functional.scaled_dot_product_attention",
         forbidden=("scaled_dot_product_attention", "MultiheadAttention", "multi_head_attention_forward")),
]


# %% hints
HINTS = [
    ("The shapes do not fit",
     "Write the axes out: `einsum(q, k, 'b heads i d, b heads j d -> b heads i j')`. i counts queries, j counts keys; "
     "d is summed because it is missing on the right."),
    ("The numbers are off, the shape is right",
     "What divides the scores? Look at the root in the formula, and at which d it is."),
    ("Still off", "The softmax runs over the keys j (the last axis of the scores): each query shares out one whole."),
]
