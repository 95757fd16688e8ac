"""2.2.4  The pre-norm block  (10 minutes, difficulty 2 of 5)

The four parts are given as functions, each (B, N, D) -> (B, N, D). Put them
together as a ViT does (Dosovitskiy et al. 2021, eq. 2 and 3), like
`torch.nn.TransformerEncoderLayer(..., norm_first=True)`:

    z' = x + attention(norm1(x))
    z  = z' + mlp(norm2(z'))

Hand in both sums: `{"after_attention": z', "output": z}`.
"""

import torch


def block(x, norm1, attention, norm2, mlp):
    """x (B, N, D) and four functions -> dict with after_attention and output, both (B, N, D)."""
    raise NotImplementedError
