"""2.1.4  Split into heads, and merge again  (10 minutes, difficulty 2 of 5)

Cut the width D of every token into `num_heads` pieces of d numbers, and put
the pieces together again. Head 0 gets the first d numbers of each token,
head 1 the next d, and so on.

A plain loop over slices is the reference: `x[:, :, h*d : (h+1)*d]`.
"""

import torch
from einops import einsum, rearrange


def split_heads(x, num_heads):
    """x (B, N, D) -> (B, heads, N, d) with D = heads * d."""
    raise NotImplementedError


def merge_heads(x):
    """x (B, heads, N, d) -> (B, N, heads * d), the inverse of split_heads."""
    raise NotImplementedError
