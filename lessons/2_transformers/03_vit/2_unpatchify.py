"""Unpatchify, its inverse  (10 minutes, difficulty 2 of 5)

Put the patches of 2.3.1 together again: row by row, each in the order
channel, row, column. Like `torch.nn.functional.fold(patches.transpose(1, 2),
(H, W), p, stride=p)`, which you may not call. Height and width are given:
the number of patches alone does not tell them.
"""

import torch
from einops import rearrange


# %% solution
def unpatchify(patches, patch_size, height, width):
    """patches (B, N, C * p * p) -> image (B, C, height, width)."""
    rows = height // patch_size
    return rearrange(patches, "b (h w) (c ph pw) -> b c (h ph) (w pw)", h=rows, ph=patch_size, pw=patch_size)


# %% check: pictures from patches against torch.nn.functional.fold
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, channels, h, w, size in [(2, 3, 2, 3, 2), (3, 3, 3, 1, 3), (2, 1, 2, 2, 4), (2, 4, 4, 2, 1)]:
        yield {
            "patches": random(batch, h * w, channels * size * size),
            "patch_size": size,
            "height": h * size,
            "width": w * size,
        }


def reference(patches, patch_size, height, width):
    return F.fold(patches.transpose(1, 2), (height, width), patch_size, stride=patch_size)


def flawed(patches, p, height, width, order="(h w)", inside="(c ph pw)", into="(h ph) (w pw)", turned=False):
    h, w = (width // p, height // p) if turned else (height // p, width // p)
    return rearrange(patches, f"b {order} {inside} -> b c {into}", h=h, w=w, ph=p, pw=p)


MISTAKES = [
    Mistake("a plain reshape: each row of the picture is filled from one patch after the other",
            lambda patches, p, height, width: patches.reshape(len(patches), -1, height, width),
            fix="Cut both axes of the patches, then move them."),
    Mistake("a picture whose patches were read as (ph pw c)", inside="(ph pw c)", fix="(c ph pw)."),
    Mistake("a picture whose patches are transposed: (c pw ph)", inside="(c pw ph)", fix="(c ph pw)."),
    Mistake("a picture filled column by column: (w h)", order="(w h)", fix="(h w): along a row first."),
    Mistake("a picture with its pixels interleaved: (ph h) and (pw w)", into="(ph h) (pw w)", fix="(h ph)."),
    Mistake("a picture with height and width swapped", turned=True, fix="h = height // patch_size rows."),
]

TASKS = [
    Task("unpatchify", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("patches",),
         like="torch.nn.functional.fold", forbidden=("fold", "Fold", "col2im")),
]


# %% hints
HINTS = [
    ("I do not know how to begin", "Turn the einops pattern of patchify round: right side left, left side right."),
    ("einops wants to know more lengths", "h is `height // patch_size`, and ph and pw are `patch_size`."),
    ("Right for square pictures only", "N = h * w with h rows of patches; h comes from the height."),
]
