"""A convolution that is a matrix  (10 minutes, difficulty 2 of 5)

The libraries project patches with a convolution whose stride is its size.
Do the same without a convolution: cut the picture into patches, flatten
the kernel in the same order, multiply. Like
`torch.nn.functional.conv2d(image, kernel, bias, stride=p)`, with the patches
in one row.
"""

import torch
from einops import rearrange


# %% solution
def project_patches(image, kernel, bias):
    """image (B, C, H, W), kernel (D, C, p, p), bias (D) -> tokens (B, H/p * W/p, D)."""
    size = kernel.shape[-1]
    patches = rearrange(image, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=size, pw=size)
    return patches @ kernel.flatten(1).T + bias


# %% check: a matrix product against torch.nn.functional.conv2d
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, channels, height, width, size, dim in [(2, 3, 4, 6, 2, 5), (3, 3, 6, 3, 3, 4), (2, 3, 8, 4, 4, 48)]:
        image, kernel = random(batch, channels, height, width), random(dim, channels, size, size)
        yield {"image": image, "kernel": kernel, "bias": random(dim)}


def reference(image, kernel, bias):
    return F.conv2d(image, kernel, bias, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)


def flawed(image, kernel, bias, add=1, inside="(c ph pw)", kernel_axes="(c ph pw)", order="(h w)", turn=lambda k: k):
    size = kernel.shape[-1]
    patches = rearrange(image, f"b c (h ph) (w pw) -> b {order} {inside}", ph=size, pw=size)
    return patches @ rearrange(turn(kernel), f"d c ph pw -> {kernel_axes} d") + add * bias


MISTAKES = [
    Mistake("the convolution without its bias", add=0),
    Mistake("a product of patches in the order (ph pw c) with a kernel in the order (c ph pw)", inside="(ph pw c)",
            fix="Flatten both in the same order."),
    Mistake("a product with transposed patches: (c pw ph)", inside="(c pw ph)", fix="(c ph pw), like the kernel."),
    Mistake("the right tokens counted down the columns: (w h)", order="(w h)", fix="(h w): along a row first."),
    Mistake("a convolution with the kernel turned upside down, as mathematicians define it",
            turn=lambda kernel: kernel.flip(-1, -2), fix="Libraries do not flip the kernel."),
    Mistake("the tokens still in the shape (B, D, h, w)",
            lambda image, kernel, bias: F.conv2d(image, kernel, bias, stride=kernel.shape[-1])),
    Mistake("a product with kernel.reshape(C p p, D), which is no transpose: numbers of several kernels are mixed",
            lambda image, kernel, bias: (
                F.unfold(image, kernel.shape[-1], stride=kernel.shape[-1]).transpose(1, 2)
                @ kernel.reshape(-1, len(kernel))
                + bias
            ), fix="kernel.flatten(1).T"),
]

TASKS = [
    Task("project_patches", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("image", "kernel", "bias"), like="torch.nn.functional.conv2d",
         forbidden=("conv2d", "Conv2d", "unfold")),
]


# %% hints
HINTS = [
    ("Where is `patch_size`?", "It is the last axis of the kernel: `kernel.shape[-1]`."),
    ("The numbers are wrong, the shape is right",
     "Patches and kernel must be flattened in the same order. `kernel.flatten(1)` is (c ph pw)."),
    ("The shape is wrong", "(B, N, C p p) times (C p p, D): the flattened kernel is transposed."),
]
