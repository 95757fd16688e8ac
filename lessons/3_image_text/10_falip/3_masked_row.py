"""The class token's row  (15 minutes, difficulty 3 of 5)

Attention with a bonus: token 0, the class token, adds `mask` (one number a
token) to its scores, behind the division by sqrt(d) and before the softmax.
All other rows are left alone, and so is the class token as a key: the mask's
first number is 0.

Hand in `{"weights": (heads, N, N), "mixed": (heads, N, d)}`. The mixed
values are those of `torch.nn.functional.scaled_dot_product_attention`.
"""

import torch


# %% solution
def foveal_attention(q, k, v, mask):
    """q, k, v (heads, N, d), mask (N,) -> dict with weights (heads, N, N) and mixed (heads, N, d)."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    scores[:, 0] = scores[:, 0] + mask
    weights = scores.softmax(dim=-1)
    return {"weights": weights, "mixed": weights @ v}


# %% check: attention against torch.nn.functional.scaled_dot_product_attention
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for heads, tokens, dim in [(2, 5, 4), (3, 4, 6), (1, 7, 2)]:
        mask = random(tokens).abs() * 2
        mask[0] = 0
        yield {"q": random(heads, tokens, dim), "k": random(heads, tokens, dim), "v": random(heads, tokens, dim),
               "mask": mask}  # fmt: skip


def reference(q, k, v, mask):
    added = torch.zeros(len(mask), len(mask), dtype=mask.dtype)
    added[0] = mask
    same = torch.eye(len(mask), dtype=v.dtype).expand(len(v), -1, -1)
    weights, mixed = (F.scaled_dot_product_attention(q, k, values, attn_mask=added) for values in (same, v))
    return {"weights": weights, "mixed": mixed}


def flawed(q, k, v, mask, rows="first", where="scores", scale=True, how="add", heads="all", axis=-1):
    root = q.shape[-1] ** 0.5
    scores = q @ k.transpose(-1, -2) / (root if scale else 1.0)
    bonus = torch.zeros_like(scores)
    if rows == "first":
        bonus[:, 0] = mask
    elif rows == "all":
        bonus = bonus + mask
    elif rows == "column":
        bonus[:, :, 0] = mask
    bonus = bonus / root if where == "before the scale" else bonus
    if heads == "first":
        bonus[1:] = 0
    inside = scores + bonus if how == "add" else scores * (1 + bonus)
    weights = (scores if where == "weights" else inside).softmax(dim=axis)
    weights = weights + bonus if where == "weights" else weights
    return {"weights": weights, "mixed": weights @ v}


MISTAKES = [
    Mistake("the attention without any mask", rows="none", fix="scores[:, 0] + mask."),
    Mistake("the attention with the mask on every row", rows="all", fix="Only row 0 asks with a bonus."),
    Mistake("the attention with the mask on the class token's column", rows="column",
            fix="scores[:, 0], not scores[:, :, 0]: rows ask, columns are asked."),
    Mistake("the attention with the mask divided by sqrt(d)", where="before the scale",
            fix="The bonus is added behind the scale."),
    Mistake("the attention with the mask added behind the softmax", where="weights",
            fix="Before the softmax: the row still sums to 1."),
    Mistake("the attention with scores multiplied by 1 + mask", how="times", fix="It is added."),
    Mistake("the attention without the scale 1 / sqrt(d)", scale=False, fix="q @ k.T / d ** 0.5."),
    Mistake("the attention with a bonus in the first head alone", heads="first", fix="Every head has the same one."),
    Mistake("the attention with a softmax over the rows", axis=-2, fix="softmax(dim=-1)."),
]

TASKS = [
    Task("foveal_attention", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("q", "k", "v", "mask"), like="torch.nn.functional.scaled_dot_product_attention"),
]


# %% hints
HINTS = [
    ("The class token's row does not sum to 1", "The bonus goes to the scores; the softmax comes afterwards."),
    ("Gradients fail, or an error about an in-place change",
     "Build a zero matrix with the mask in row 0 and add it: nothing is changed in place."),
    ("Other tokens change", "In this block they must not: only scores[:, 0] has a bonus."),
]
