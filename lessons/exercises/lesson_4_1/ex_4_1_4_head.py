"""4.1.4  From tokens to pixels  (15 minutes, difficulty 3 of 5)

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


def mask_head(tokens, weight, bias):
    """tokens (B, 1 + h h, D) of a square grid, weight (D, 1, P, P), bias (1) -> mask logits (B, h P, h P)."""
    raise NotImplementedError
