"""Find the bug: masks that wander  (10 minutes, difficulty 3 of 5)

A library's attention takes scores with batch and heads in ONE axis: first
all heads of picture 0, then all heads of picture 1, and so on. Each
picture's mask has to be repeated for its heads. This function is right for
one picture, and for one head. With more of both, pictures get the masks of
others: shapes are right, and nothing complains. (The released CLIPSeg has
this bug.) One line is wrong.
"""

import torch


# %% given: with its bug
def mask_scores(scores, masks, num_heads):
    """scores (B * heads, N, N), masks (B, N) of factors for the class token's row -> (B * heads, N, N)."""
    factors = masks.repeat(num_heads, 1)
    class_row = scores[:, :1] * factors[:, None]
    return torch.cat([class_row, scores[:, 1:]], dim=1)


# %% solution
def mask_scores(scores, masks, num_heads):
    factors = masks.repeat_interleave(num_heads, dim=0)
    class_row = scores[:, :1] * factors[:, None]
    return torch.cat([class_row, scores[:, 1:]], dim=1)


# %% check: masks picture by picture and head by head
from lessons.checker import Mistake, Task


def cases(random):
    for batch, heads, n in [(2, 3, 4), (3, 2, 5), (1, 4, 3), (4, 3, 3)]:
        yield {"scores": random(batch * heads, n, n), "masks": random(batch, n), "num_heads": heads}


def reference(scores, masks, num_heads):
    out = scores.clone()
    for picture, mask in enumerate(masks):
        for head in range(num_heads):
            out[picture * num_heads + head, 0] *= mask
    return out


def flawed(scores, masks, num_heads, order="tile", rows="class", axis="columns"):
    factors = masks.repeat(num_heads, 1) if order == "tile" else masks.repeat_interleave(num_heads, dim=0)
    factors = masks[:1].expand(len(scores), -1) if order == "first" else factors
    if axis == "rows":
        return torch.cat([scores[:, :, :1] * factors[:, :, None], scores[:, :, 1:]], dim=2)
    if rows == "all":
        return scores * factors[:, None]
    if rows == "others":
        return torch.cat([scores[:, :1], scores[:, 1:] * factors[:, None]], dim=1)
    return torch.cat([scores[:, :1] * factors[:, None], scores[:, 1:]], dim=1)


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", order="tile"),
    Mistake("the scores with the first picture's mask for all", order="first"),
    Mistake("the scores with all rows masked: that line was right", order="each", rows="all"),
    Mistake("the scores with all rows but the class token's masked", order="each", rows="others"),
    Mistake("the scores with the class token's column masked", order="each", axis="rows"),
]

TASKS = [
    Task("mask_scores", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="picture by picture and head by head"),
]


# %% hints
HINTS = [
    ("Where to look", "Take two pictures and three heads, and masks of ones and of zeros. Whose row becomes zero?"),
    ("Try it small", "`torch.tensor([[0], [1]]).repeat(3, 1)` gives 0 1 0 1 0 1. What order is asked for?"),
    ("The line", "repeat puts the whole batch behind itself; repeat_interleave repeats each row in place."),
]
