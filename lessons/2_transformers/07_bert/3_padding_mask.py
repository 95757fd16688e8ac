"""Hide the padding  (15 minutes, difficulty 3 of 5)

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


# %% solution
def padded_attention(q, k, v, mask):
    """q, k, v (B, H, N, d) and mask (B, N) of 0 and 1 -> dict with weights and output."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
    weights = scores.softmax(dim=-1)
    return {"weights": weights, "output": weights @ v}


# %% check: attention against torch's scaled_dot_product_attention, its weights by an identity as v
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for lengths, heads, d in [((5, 3, 1), 2, 3), ((4, 4), 1, 5), ((2, 6), 3, 4)]:
        n = max(lengths)
        mask = torch.zeros(len(lengths), n, dtype=torch.long)
        for row, length in enumerate(lengths):
            mask[row, :length] = 1
        q, k, v = (random(len(lengths), heads, n, d) * 1.5 for _ in "qkv")
        yield {"q": q, "k": k, "v": v, "mask": mask}
    holes = torch.tensor([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]])
    q, k, v = (random(4, 2, 4, 3) for _ in "qkv")
    yield {"q": q, "k": k, "v": v, "mask": holes}


def reference(q, k, v, mask):
    seen = mask.bool()[:, None, None, :]
    identity = torch.eye(k.shape[2], dtype=v.dtype).expand(*k.shape[:2], -1, -1)
    weights = F.scaled_dot_product_attention(q, k, identity, attn_mask=seen)
    return {"weights": weights, "output": F.scaled_dot_product_attention(q, k, v, attn_mask=seen)}


def answer(scores, v, keep=1):
    weights = scores.softmax(dim=-1) * keep
    return {"weights": weights, "output": weights @ v}


def flawed(q, k, v, mask, hide="before", amount=float("-inf"), axis="keys", turned=False, scale=True):
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale else 1)
    hidden = (mask == (1 if turned else 0))[:, None, None, :]
    hidden = hidden.mT if axis == "queries" else hidden
    if hide == "never":
        return answer(scores, v)
    if hide == "after":
        return answer(scores, v, ~hidden)
    if hide == "zero":
        return answer(scores * ~hidden, v)
    if hide == "output":
        found = answer(scores, v)
        return {**found, "output": found["output"] * (mask[:, None, :, None] != 0)}
    if hide == "vectors":
        return answer(scores * ~hidden, v * ~hidden.mT)
    return answer(scores.masked_fill(hidden, amount), v)


MISTAKES = [
    Mistake("attention without the mask: everybody sees padding", hide="never"),
    Mistake("attention with the mask turned round: padding is seen and words are hidden", turned=True, amount=-1e9,
            fix="1 is a token: hide where mask == 0."),
    Mistake("attention with the weights set to 0 after the softmax: the rows no longer sum to 1", hide="after",
            fix="Hide in the scores, before the softmax."),
    Mistake("attention with the scores of padding set to 0: e^0 is 1, not 0", hide="zero",
            fix="Minus infinity, not 0."),
    Mistake("attention with minus ten instead of minus infinity", amount=-10.0),
    Mistake("attention in which padding asks nobody, but is still seen: queries masked instead of keys",
            axis="queries", amount=-1e9,
            fix="The mask belongs to the last axis of the scores: mask[:, None, None, :]."),
    Mistake("attention that hides nothing but sets the answers of padding to 0", hide="output",
            fix="The others must not see padding; what it answers itself does not matter."),
    Mistake("attention with keys and values of padding set to 0: a zero vector still gets a share", hide="vectors"),
    Mistake("the reference without the scale", scale=False, fix="Divide the scores by sqrt(d)."),
]

TASKS = [
    Task("padded_attention", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("q", "k", "v"),
         like="torch.nn.functional.scaled_dot_product_attention",
         forbidden=("scaled_dot_product_attention", "MultiheadAttention")),
]


# %% hints
HINTS = [
    ("The shapes do not line up",
     "`mask[:, None, None, :]` is (B, 1, 1, N): the same for all heads and all asking tokens."),
    ("The rows do not sum to 1",
     "Hide before the softmax: scores of padding become minus infinity, and `exp` makes them 0."),
    ("NaN", "Minus infinity times 0 is NaN. Use `masked_fill`, do not multiply."),
]
