"""Patchify  (10 minutes, difficulty 2 of 5)

Cut a picture into squares, row by row from the top left; each square
becomes one vector, in the order channel, row, column (all red numbers
first). Like `torch.nn.functional.unfold(image, p, stride=p)` with its last
two axes swapped; unfold itself is what you write.
"""

import torch
from einops import rearrange


# %% solution
def patchify(image, patch_size):
    """image (B, C, H, W), H and W multiples of patch_size p -> (B, H/p * W/p, C * p * p)."""
    return rearrange(image, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=patch_size, pw=patch_size)


# %% check: patches against torch.nn.functional.unfold
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, channels, height, width, size in [(2, 3, 4, 6, 2), (3, 3, 6, 3, 3), (2, 1, 8, 8, 4), (2, 4, 4, 4, 1)]:
        yield {"image": random(batch, channels, height, width), "patch_size": size}


def flawed(image, p, rows="(h ph)", columns="(w pw)", order="(h w)", inside="(c ph pw)"):
    axes = {"ph": p, "pw": p}
    if rows == "(ph h)":
        axes = {"h": image.shape[-2] // p, "w": image.shape[-1] // p}
    return rearrange(image, f"b c {rows} {columns} -> b {order} {inside}", **axes)


MISTAKES = [
    Mistake("a plain reshape: the numbers are read on along whole rows of the picture",
            lambda image, p: image.reshape(len(image), -1, image.shape[1] * p * p),
            fix="Cut both axes, '(h ph)' and '(w pw)', and move them."),
    Mistake("patches in the order row, column, channel: (ph pw c)", inside="(ph pw c)", fix="(c ph pw)."),
    Mistake("patches with their pixels transposed: (c pw ph)", inside="(c pw ph)", fix="(c ph pw)."),
    Mistake("the right patches counted down the columns: (w h)", order="(w h)", fix="(h w): along a row first."),
    Mistake("patches of far apart pixels: (ph h) and (pw w) take every h-th row instead of neighbours",
            rows="(ph h)", columns="(pw w)", fix="(h ph): h counts patches, ph the pixels in one."),
    Mistake("the result of unfold itself, (B, C p p, N)", lambda image, p: F.unfold(image, p, stride=p),
            fix="Patches come second, their numbers last."),
    Mistake("overlapping patches, one for each pixel: unfold without its stride",
            lambda image, p: F.unfold(image, p).transpose(1, 2)),
]

TASKS = [
    Task("patchify", cases, reference=lambda image, p: F.unfold(image, p, stride=p).transpose(1, 2), flawed=flawed,
         mistakes=MISTAKES, gradients=("image",), like="torch.nn.functional.unfold",
         forbidden=("unfold", "Unfold", "im2col")),
]


# %% hints
HINTS = [
    ("I do not know how to begin", "Height is h patches of ph pixels: in einops '(h ph)'. Width likewise: '(w pw)'."),
    ("The shape is right, the numbers are mixed up",
     "A plain reshape reads whole pixel rows; a patch needs pieces of several rows."),
    ("Right for square pictures only", "Patches are counted along a row first: (h w), h slow and w fast."),
    ("Right patches, wrong order inside", "Inside a patch the order is (c ph pw), as a conv kernel lies in memory."),
]
