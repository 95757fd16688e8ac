"""2.3.5  A convolution that is a matrix  (10 minutes, difficulty 2 of 5)

The libraries project patches with a convolution whose stride is its size.
Do the same without a convolution: cut the picture into patches, flatten
the kernel in the same order, multiply. Like
`torch.nn.functional.conv2d(image, kernel, bias, stride=p)`, with the patches
in one row.
"""

import torch
from einops import rearrange


def project_patches(image, kernel, bias):
    """image (B, C, H, W), kernel (D, C, p, p), bias (D) -> tokens (B, H/p * W/p, D)."""
    raise NotImplementedError
