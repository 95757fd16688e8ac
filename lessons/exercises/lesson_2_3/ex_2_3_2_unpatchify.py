"""2.3.2  Unpatchify, its inverse  (10 minutes, difficulty 2 of 5)

Put the patches of 2.3.1 together again: row by row, each in the order
channel, row, column. Like `torch.nn.functional.fold(patches.transpose(1, 2),
(H, W), p, stride=p)`, which you may not call. Height and width are given:
the number of patches alone does not tell them.
"""

import torch
from einops import rearrange


def unpatchify(patches, patch_size, height, width):
    """patches (B, N, C * p * p) -> image (B, C, height, width)."""
    raise NotImplementedError
