"""From tokens to pixels  (15 minutes, difficulty 3 of 5)

CLIPSeg's plain head is a transposed convolution whose kernel is as large as
its stride, the patch size P: windows do not overlap, so each token fills a
square of P x P pixels of its own, alone. Write it without a convolution:
each patch token (D) times the kernel (D, P, P) gives its square, plus the
bias; then the squares are laid out. The class token stands first and is
dropped. Like torch.nn.functional.conv_transpose2d with stride P. One matrix
product and one rearrange are enough: it is patchify, backwards.
"""

import torch
from einops import einsum, rearrange


# %% solution
def mask_head(tokens, weight, bias):
    """tokens (B, 1 + h h, D) of a square grid, weight (D, 1, P, P), bias (1) -> mask logits (B, h P, h P)."""
    patches = tokens[:, 1:]  # (B, h h, D)
    side = round(patches.shape[1] ** 0.5)
    squares = einsum(patches, weight[:, 0], "b n d, d ph pw -> b n ph pw") + bias
    return rearrange(squares, "b (h w) ph pw -> b (h ph) (w pw)", h=side)


# %% check: a matrix product against torch.nn.functional.conv_transpose2d
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, side, dim, patch in [(2, 3, 4, 2), (1, 2, 3, 4), (3, 3, 2, 3)]:
        yield {
            "tokens": random(batch, 1 + side * side, dim),
            "weight": random(dim, 1, patch, patch),
            "bias": random(1),
        }


def reference(tokens, weight, bias):
    batch, n, dim = tokens.shape
    side = int((n - 1) ** 0.5)
    grid = tokens[:, 1:].permute(0, 2, 1).reshape(batch, dim, side, side)
    return F.conv_transpose2d(grid, weight, bias, stride=weight.shape[-1])[:, 0]


def flawed(tokens, weight, bias, keep=slice(1, None), layout="(h ph) (w pw)", turn="d ph pw", use_bias=1, read="(h w)"):
    patches = tokens[:, keep]
    side = round(patches.shape[1] ** 0.5)
    squares = einsum(patches, weight[:, 0], f"b n d, {turn} -> b n ph pw") + use_bias * bias
    return rearrange(squares, f"b {read} ph pw -> b {layout}", h=side)


def flipped(tokens, weight, bias):
    return flawed(tokens, weight.flip(-2, -1), bias)


def enlarged(tokens, weight, bias):
    patches = rearrange(tokens[:, 1:], "b (h w) d -> b d h w", h=round((tokens.shape[1] - 1) ** 0.5))
    values = einsum(patches, weight.mean(dim=(1, 2, 3)), "b d h w, d -> b h w") + bias
    return values.repeat_interleave(weight.shape[-1], dim=1).repeat_interleave(weight.shape[-1], dim=2)


MISTAKES = [
    Mistake("the head that drops the last token: the class token was taken for the first patch", keep=slice(0, -1),
            fix="The class token comes first: tokens[:, 1:]."),
    Mistake("the head with the patch's own axes outside: pixels of all patches interleaved", layout="(ph h) (pw w)",
            fix="(h ph) (w pw): the patch grid is the outer axis."),
    Mistake("the head with the grid of patches transposed", read="(w h)", fix="Patches lie row by row."),
    Mistake("the head with every square transposed", turn="d pw ph", fix="The kernel is (D, 1, ph, pw)."),
    Mistake("the whole mask transposed", layout="(w pw) (h ph)", fix="Rows first: (h ph)."),
    Mistake("the head without its bias", use_bias=0),
    Mistake("the head with a flipped kernel", flipped,
            fix="A transposed convolution writes the kernel as it is; nothing is turned round."),
    Mistake("each token's mean answer enlarged: all pixels of a patch are alike", enlarged,
            fix="Every pixel of the square has weights of its own."),
]

TASKS = [
    Task("mask_head", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("tokens", "weight", "bias"), like="torch.nn.functional.conv_transpose2d",
         forbidden=("conv_transpose2d", "ConvTranspose2d", "conv2d", "Conv2d")),
]


# %% hints
HINTS = [
    ("Where to begin",
     "`squares = einsum(tokens[:, 1:], weight[:, 0], 'b n d, d ph pw -> b n ph pw') + bias`: one square for each patch "
     "token."),
    ("Laying them out", "`rearrange(squares, 'b (h w) ph pw -> b (h ph) (w pw)', h=side)` with side * side patches."),
    ("The squares are right, the picture is turned",
     "Rows of the picture are made of (h ph), columns of (w pw), with the patch's own axis inside."),
]
