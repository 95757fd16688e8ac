"""The check of 2.6.4: patch merging against timm's PatchMerging."""

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.models.swin_transformer import PatchMerging

from lessons.checker import Mistake, Task

HINTS = [
    (
        "The order of the padding",
        "F.pad counts axes from the last: channels (0, 0), then columns (0, w % 2), then rows (0, h % 2).",
    ),
    (
        "The shape is right, the numbers are mixed up",
        "In einops: '(h row) (w col)'; what comes last in a group is fast.",
    ),
    (
        "Right for one colour of tokens only",
        "(0, 0), (1, 0), (0, 1), (1, 1): the row changes first, so row is faster than col, and d faster than both.",
    ),
    ("Off in the fifth decimal", "eps is 1e-5 here."),
]


def merge(x, gain, bias, weight):
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    x = rearrange(x, "b (h row) (w col) d -> b h w (col row d)", row=2, col=2)
    x = F.layer_norm(x, gain.shape, gain, bias, eps=1e-5)
    return x @ weight.T


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


TASKS = [
    Task(
        "merge",
        cases,
        reference=reference,
        like="timm's PatchMerging",
        gradients=("x", "gain", "weight"),
        forbidden=("PatchMerging",),
        mistakes=[
            Mistake(
                "a merge in the order (0, 0), (0, 1), (1, 0), (1, 1): right before down",
                flawed,
                inside="(row col d)",
                fix="(col row d): the row changes first.",
            ),
            Mistake(
                "a merge with the four values of each channel side by side instead of the four tokens",
                flawed,
                inside="(d col row)",
                fix="(col row d): all channels of one token, then the next token.",
            ),
            Mistake("a merge without its LayerNorm", flawed, norm=False),
            Mistake("a merge with eps 1e-6", flawed, eps=1e-6, fix="eps=1e-5."),
            Mistake("a merge whose LayerNorm has no bias", flawed, add=False),
            Mistake(
                "a merge padded at the left and at the top",
                flawed,
                pad=pad_before,
                fix="F.pad(x, (0, 0, 0, w % 2, 0, h % 2)).",
            ),
            Mistake(
                "a merge padded with copies of the last row and column instead of zeros",
                flawed,
                pad=pad_copies,
                fix="Zeros.",
            ),
        ],
    )
]
