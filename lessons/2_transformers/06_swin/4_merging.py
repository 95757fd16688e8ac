"""Patch merging  (15 minutes, difficulty 3 of 5)

Four neighbours become one token, twice as wide:

    1. pad the map with zeros at the right and at the bottom to even sizes;
    2. lay the channels of each 2 x 2 tokens side by side, in the order of
       (row, column) (0, 0), (1, 0), (0, 1), (1, 1);
    3. LayerNorm over the 4 D channels (eps 1e-5), with gain and bias;
    4. a linear layer without bias, 4 D -> 2 D.

Like timm's PatchMerging. `torch.nn.functional` may be used.
"""

import torch
import torch.nn.functional as F
from einops import rearrange


# %% solution
def merge(x, gain, bias, weight):
    """x (B, h, w, D), gain (4D), bias (4D), weight (2D, 4D) -> (B, h/2, w/2, 2D), halves rounded up."""
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    x = rearrange(x, "b (h row) (w col) d -> b h w (col row d)", row=2, col=2)
    x = F.layer_norm(x, gain.shape, gain, bias, eps=1e-5)
    return x @ weight.T


# %% check: patch merging against timm's PatchMerging
from timm.models.swin_transformer import PatchMerging

from lessons.checker import Mistake, Task


def cases(random):
    for batch, h, w, dim in [(2, 4, 6, 3), (3, 3, 5, 2), (2, 5, 4, 4), (2, 1, 1, 3)]:
        x = random(batch, h, w, dim) * 0.1
        yield {"x": x, "gain": random(4 * dim), "bias": random(4 * dim), "weight": random(2 * dim, 4 * dim)}


def reference(x, gain, bias, weight):
    named = {"norm.weight": gain, "norm.bias": bias, "reduction.weight": weight}
    return torch.func.functional_call(PatchMerging(x.shape[-1]).double(), named, (x,))


def pad_zeros(x):
    return F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))


def pad_before(x):
    return F.pad(x, (0, 0, x.shape[2] % 2, 0, x.shape[1] % 2, 0))


def pad_copies(x):
    x = torch.cat([x, x[:, -1:]], dim=1) if x.shape[1] % 2 else x
    return torch.cat([x, x[:, :, -1:]], dim=2) if x.shape[2] % 2 else x


def flawed(x, gain, bias, weight, pad=pad_zeros, inside="(col row d)", eps=1e-5, norm=True, add=True):
    x = rearrange(pad(x), f"b (h row) (w col) d -> b h w {inside}", row=2, col=2)
    if norm:
        x = F.layer_norm(x, gain.shape, gain, bias if add else None, eps=eps)
    return x @ weight.T


MISTAKES = [
    Mistake("a merge in the order (0, 0), (0, 1), (1, 0), (1, 1): right before down", inside="(row col d)",
            fix="(col row d): the row changes first."),
    Mistake("a merge with the four values of each channel side by side instead of the four tokens",
            inside="(d col row)", fix="(col row d): all channels of one token, then the next token."),
    Mistake("a merge without its LayerNorm", norm=False),
    Mistake("a merge with eps 1e-6", eps=1e-6, fix="eps=1e-5."),
    Mistake("a merge whose LayerNorm has no bias", add=False),
    Mistake("a merge padded at the left and at the top", pad=pad_before, fix="F.pad(x, (0, 0, 0, w % 2, 0, h % 2))."),
    Mistake("a merge padded with copies of the last row and column instead of zeros", pad=pad_copies, fix="Zeros."),
]

TASKS = [
    Task("merge", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("x", "gain", "weight"),
         like="timm's PatchMerging", forbidden=("PatchMerging",)),
]


# %% hints
HINTS = [
    ("The order of the padding",
     "F.pad counts axes from the last: channels (0, 0), then columns (0, w % 2), then rows (0, h % 2)."),
    ("The shape is right, the numbers are mixed up",
     "In einops: '(h row) (w col)'; what comes last in a group is fast."),
    ("Right for one colour of tokens only",
     "(0, 0), (1, 0), (0, 1), (1, 1): the row changes first, so row is faster than col, and d faster than both."),
    ("Off in the fifth decimal", "eps is 1e-5 here."),
]
