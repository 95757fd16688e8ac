"""The check of 4.3.5: masks picture by picture and head by head."""

import torch

from lessons.checker import Mistake, Task

HINTS = [
    ("Where to look", "Take two pictures and three heads, and masks of ones and of zeros. Whose row becomes zero?"),
    ("Try it small", "`torch.tensor([[0], [1]]).repeat(3, 1)` gives 0 1 0 1 0 1. What order is asked for?"),
    ("The line", "repeat puts the whole batch behind itself; repeat_interleave repeats each row in place."),
]


def mask_scores(scores, masks, num_heads):
    factors = masks.repeat_interleave(num_heads, dim=0)
    class_row = scores[:, :1] * factors[:, None]
    return torch.cat([class_row, scores[:, 1:]], dim=1)


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


TASKS = [
    Task(
        "mask_scores",
        cases,
        reference=reference,
        like="picture by picture and head by head",
        mistakes=[
            Mistake("that of the file as you were given it: the bug is still in it", flawed, order="tile"),
            Mistake("the scores with the first picture's mask for all", flawed, order="first"),
            Mistake("the scores with all rows masked: that line was right", flawed, order="each", rows="all"),
            Mistake("the scores with all rows but the class token's masked", flawed, order="each", rows="others"),
            Mistake("the scores with the class token's column masked", flawed, order="each", axis="rows"),
        ],
    )
]
