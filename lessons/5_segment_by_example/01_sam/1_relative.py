"""Relative positions, in rows and columns  (20 minutes, difficulty 4 of 5)

Tokens lie on a grid of h x w, row by row. Token i looks at token j. What is
added to its score is two products: of the query of i with the row of `rel_h`
that belongs to how many grid rows i lies below j, and of the same query with
the row of `rel_w` that belongs to how many columns i lies right of j. The
tables have 2 h - 1 and 2 w - 1 rows: row 0 belongs to the smallest offset,
-(h - 1) or -(w - 1). The query is taken as it is, not divided by anything
(MViTv2, eq. 4; SAM's `add_decomposed_rel_pos`).
"""

import torch


# %% solution
def relative_bias(q, rel_h, rel_w, h, w):
    """q (B, h * w, d), rel_h (2 h - 1, d), rel_w (2 w - 1, d) -> (B, h * w, h * w), [b, i, j] for i looking at j."""
    rows = torch.arange(h)[:, None] - torch.arange(h)[None] + h - 1  # (h, h)
    columns = torch.arange(w)[:, None] - torch.arange(w)[None] + w - 1  # (w, w)
    grid = q.unflatten(1, (h, w))  # (B, h, w, d)
    up_down = torch.einsum("bhwd,hkd->bhwk", grid, rel_h[rows])
    left_right = torch.einsum("bhwd,wkd->bhwk", grid, rel_w[columns])
    return (up_down[..., :, None] + left_right[..., None, :]).flatten(3).flatten(1, 2)


# %% check: pair by pair, in a loop over all tokens
from lessons.checker import Mistake, Task


def cases(random):
    for batch, h, w, dim in [(2, 3, 4, 5), (1, 4, 2, 3), (3, 1, 5, 2)]:
        yield {
            "q": random(batch, h * w, dim) + 0.3,
            "rel_h": random(2 * h - 1, dim),
            "rel_w": random(2 * w - 1, dim),
            "h": h,
            "w": w,
        }


def reference(q, rel_h, rel_w, h, w):
    bias = torch.zeros(len(q), h * w, h * w, dtype=q.dtype)
    for i in range(h * w):
        for j in range(h * w):
            below, right = i // w - j // w, i % w - j % w
            bias[:, i, j] = q[:, i] @ rel_h[below + h - 1] + q[:, i] @ rel_w[right + w - 1]
    return bias


def flawed(q, rel_h, rel_w, h, w, scale=False, sign=(1, 1), use=(1, 1), mean=False, keys=False):
    q = q * q.shape[-1] ** -0.5 if scale else q
    rel_h, rel_w = (table if one > 0 else table.flip(0) for table, one in zip((rel_h, rel_w), sign))
    bias = use[0] * reference(q, rel_h, 0 * rel_w, h, w) + use[1] * reference(q, 0 * rel_h, rel_w, h, w)
    bias = bias / 2 if mean else bias
    return bias.mT if keys else bias


def distances(q, rel_h, rel_w, h, w):
    """|offset| in place of the offset."""
    folded_h, folded_w = rel_h.clone(), rel_w.clone()
    folded_h[: h - 1], folded_w[: w - 1] = rel_h[h:].flip(0), rel_w[w:].flip(0)
    return reference(q, folded_h, folded_w, h, w)


def column_by_column(q, rel_h, rel_w, h, w):
    """Tokens counted down the columns."""
    order = torch.arange(h * w).view(h, w).T.flatten()
    swapped = torch.empty_like(order)
    swapped[order] = torch.arange(h * w)
    return reference(q[:, order], rel_h, rel_w, h, w)[:, swapped][:, :, swapped]


MISTAKES = [
    Mistake("the bias of the scaled query", scale=True,
            fix="The query asks the tables before it is divided by sqrt(d)."),
    Mistake("the bias with the offsets from query to key", sign=(-1, -1),
            fix="The offset is the query's place minus the key's."),
    Mistake("the bias with the rows' offsets turned round", sign=(-1, 1), fix="Query minus key."),
    Mistake("the bias with the columns' offsets turned round", sign=(1, -1), fix="Query minus key."),
    Mistake("the bias of the rows alone", use=(1, 0), fix="Add the columns' part."),
    Mistake("the bias of the columns alone", use=(0, 1), fix="Add the rows' part."),
    Mistake("the mean of the two parts", mean=True, fix="They are added."),
    Mistake("the bias of j looking at i, transposed", keys=True, fix="Row i belongs to the query."),
    Mistake("the bias of distances without a sign", distances, fix="Above and below have rows of their own: no abs."),
]

TASKS = [
    Task("relative_bias", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("q", "rel_h", "rel_w"), like="a loop over all pairs of tokens"),
]


# %% hints
HINTS = [
    ("One axis first", "`offset = torch.arange(h)[:, None] - torch.arange(h)[None] + h - 1` is the row for each pair."),
    ("From offsets to vectors", "`rel_h[offset]` has the shape (h, h, d): a vector for each pair of grid rows."),
    ("Both together",
     "With q as (B, h, w, d): `einsum('bhwd,hkd->bhwk')` for rows, `einsum('bhwd,wkd->bhwk')` for columns, then add "
     "them with `[..., :, None]` and `[..., None, :]`."),
]
