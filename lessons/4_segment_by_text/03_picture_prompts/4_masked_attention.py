"""A class token that looks at the object  (15 minutes, difficulty 3 of 5)

Another picture prompt leaves the picture alone and changes the attention:
the scores of the class token (row 0) for patches outside the object are
multiplied by 0 BEFORE the softmax. Zero, not minus infinity: such a patch
keeps the weight of a score of 0. So it is in the released code, and the
numbers of its golden cases need it. All other rows stay as they are, and
the class token keeps its score for itself. Scores are scaled as always.
Like softmax(scores * scale) @ v with a scale of ones and zeros.
"""

import torch
from einops import einsum


# %% solution
def masked_attention(q, k, v, seen):
    """q, k, v (B, heads, 1 + N, head_dim), seen (B, N) bool, True on the object's patches
    -> (B, heads, 1 + N, head_dim)."""
    scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * q.shape[-1] ** -0.5
    scale = torch.ones_like(scores)
    scale[:, :, 0, 1:] = seen[:, None].to(scores.dtype)
    return einsum((scores * scale).softmax(dim=-1), v, "b heads i j, b heads j d -> b heads i d")


# %% check: masked attention against one row at a time
from lessons.checker import Mistake, Task


def cases(random):
    for batch, heads, patches, dim in [(2, 2, 5, 4), (1, 3, 4, 2), (3, 3, 6, 3)]:
        shape = (batch, heads, 1 + patches, dim)
        seen = random(batch, patches) > 0
        seen[:, 0], seen[:, 1] = True, False
        yield {"q": random(*shape), "k": random(*shape), "v": random(*shape), "seen": seen}


def reference(q, k, v, seen):
    rows = torch.nn.functional.scaled_dot_product_attention(q, k, v)[:, :, 1:]
    first = []
    for b in range(len(q)):
        for head in range(q.shape[1]):
            scores = (k[b, head] @ q[b, head, 0]) / q.shape[-1] ** 0.5
            scores = torch.cat([scores[:1], torch.where(seen[b], scores[1:], 0.0)])
            first.append(torch.exp(scores) / torch.exp(scores).sum() @ v[b, head])
    return torch.cat([torch.stack(first).reshape(*q.shape[:2], 1, -1), rows], dim=2)


def flawed(q, k, v, seen, how="times", rows="class", turned=False, own=True, scale=True, itself=True, which="own"):
    seen = ~seen if turned else seen
    seen = seen if own else seen[:1].expand_as(seen)
    scores = einsum(q, k, "b h i d, b h j d -> b h i j") * (q.shape[-1] ** -0.5 if scale else 1)
    keep = torch.ones_like(scores, dtype=torch.bool)
    part = seen[:, None, None] if rows != "column" else seen[:, None, :, None]
    if rows == "column":
        keep[:, :, 1:, :1] = part
    else:
        keep[:, :, {"class": slice(0, 1), "all": slice(None), "patches": slice(1, None)}[rows], 1:] = part
    keep[:, :, 0, 0] = itself
    if how == "minus":
        weights = scores.masked_fill(~keep, -torch.inf).softmax(dim=-1)
    elif how == "times":
        weights = (scores * keep).softmax(dim=-1)
    else:
        weights = scores.softmax(dim=-1) * keep
    return einsum(weights, v, "b h i j, b h j d -> b h i d")


MISTAKES = [
    Mistake("attention that masks with minus infinity", how="minus",
            fix="Multiply the scores by 0: a masked patch keeps the weight of a score of 0."),
    Mistake("attention masked after the softmax", how="after",
            fix="The scores are multiplied, then comes the softmax."),
    Mistake("attention in which every row is masked", rows="all", fix="Only row 0, the class token's."),
    Mistake("attention in which the patches' rows are masked and the class token's is not", rows="patches",
            fix="Only row 0, the class token's."),
    Mistake("attention in which the patches cannot see the class token", rows="column",
            fix="scores[:, :, 0, 1:]: row 0, all columns of patches."),
    Mistake("attention masked inside the object", turned=True, fix="seen is True on the object."),
    Mistake("attention with the first picture's mask for all pictures", own=False,
            fix="Each picture has a mask of its own."),
    Mistake("attention without its scale", scale=False, fix="head_dim ** -0.5."),
    Mistake("attention whose class token does not see itself", itself=False),
]

TASKS = [
    Task("masked_attention", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("q", "k", "v"),
         like="one row at a time"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "Plain attention first: scores (B, heads, 1 + N, 1 + N), times head_dim ** -0.5. `scores[:, :, 0, 1:]` are the "
     "class token's scores for the patches."),
    ("The batches are mixed", "seen is (B, N); against (B, heads, N) it needs an axis for the heads: `seen[:, None]`."),
    ("A mask of minus infinity is not it",
     "Multiply the scores by 0 or 1. A masked patch then has the score 0, and its exponential is 1."),
]
