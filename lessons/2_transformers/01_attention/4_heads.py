"""Split into heads, and merge again  (10 minutes, difficulty 2 of 5)

Cut the width D of every token into `num_heads` pieces of d numbers, and put
the pieces together again. Head 0 gets the first d numbers of each token,
head 1 the next d, and so on.

A plain loop over slices is the reference: `x[:, :, h*d : (h+1)*d]`.
"""

import torch
from einops import einsum, rearrange


# %% solution
def split_heads(x, num_heads):
    """x (B, N, D) -> (B, heads, N, d) with D = heads * d."""
    return rearrange(x, "b n (heads d) -> b heads n d", heads=num_heads)


def merge_heads(x):
    """x (B, heads, N, d) -> (B, N, heads * d), the inverse of split_heads."""
    return rearrange(x, "b heads n d -> b n (heads d)")


# %% check: heads against a loop over slices
from lessons.checker import Mistake, Task


def split_cases(random):
    for batch, n, heads, d in [(2, 5, 3, 4), (3, 2, 2, 6), (2, 4, 4, 4)]:
        yield {"x": random(batch, n, heads * d), "num_heads": heads}


def merge_cases(random):
    for batch, n, heads, d in [(2, 5, 3, 4), (3, 2, 2, 6), (2, 4, 4, 4)]:
        yield {"x": random(batch, heads, n, d)}


def split_reference(x, num_heads):
    d = x.shape[-1] // num_heads
    return torch.stack([x[:, :, head * d : (head + 1) * d] for head in range(num_heads)], dim=1)


def merge_reference(x):
    return torch.cat([x[:, head] for head in range(x.shape[1])], dim=-1)


SPLIT_HEADS_MISTAKES = [
    Mistake("the reference with reshape(B, heads, N, d) alone: pieces of different tokens land in one head",
            lambda x, h: x.reshape(x.shape[0], h, x.shape[1], -1),
            fix="First cut the last axis, (B, N, heads, d), then move heads forward."),
    Mistake("heads that take every heads-th number instead of d neighbours: (d heads) instead of (heads d)",
            lambda x, h: rearrange(x, "b n (d heads) -> b heads n d", heads=h)),
    Mistake("the right pieces with the axes in the order (B, N, heads, d)",
            lambda x, h: rearrange(x, "b n (heads d) -> b n heads d", heads=h), fix="Move heads before the tokens."),
    Mistake("the right pieces with heads before the batch",
            lambda x, h: rearrange(x, "b n (heads d) -> heads b n d", heads=h)),
    Mistake("a split into pieces of num_heads numbers: the number of heads and their width are swapped",
            lambda x, h: rearrange(x, "b n (heads d) -> b heads n d", d=h)),
    Mistake("the right heads in reverse order", lambda x, h: split_reference(x, h).flip(1)),
]

MERGE_HEADS_MISTAKES = [
    Mistake("the reference with reshape(B, N, D) alone: the heads' axis has to move behind the tokens first",
            lambda x: x.reshape(x.shape[0], x.shape[2], -1)),
    Mistake("heads merged in the wrong order: (d heads) instead of (heads d)",
            lambda x: rearrange(x, "b heads n d -> b n (d heads)")),
    Mistake("all tokens of a head one after the other: (B, heads * N, d)",
            lambda x: rearrange(x, "b heads n d -> b (heads n) d")),
    Mistake("the mean over the heads instead of one head beside the other", lambda x: x.mean(dim=1)),
    Mistake("the heads in reverse order", lambda x: merge_reference(x.flip(1))),
]

TASKS = [
    Task("split_heads", split_cases, reference=split_reference, mistakes=SPLIT_HEADS_MISTAKES, gradients=("x",),
         like="the loop over slices"),
    Task("merge_heads", merge_cases, reference=merge_reference, mistakes=MERGE_HEADS_MISTAKES, gradients=("x",),
         like="the loop over slices"),
]


# %% hints
HINTS = [
    ("I do not know how to begin",
     "`rearrange(x, 'b n (heads d) -> b heads n d', heads=num_heads)`: the brackets cut an axis in two."),
    ("The shape is right, the numbers are at the wrong places",
     "`reshape(B, heads, N, d)` alone reads the numbers on in memory order and mixes tokens. Cut the last axis first, "
     "then move axes."),
    ("Merging does not undo splitting",
     "In the brackets the slow axis stands first: (heads d) keeps each head's numbers together."),
]
