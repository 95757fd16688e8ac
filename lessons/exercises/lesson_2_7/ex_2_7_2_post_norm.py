"""2.7.2  The post-norm block  (10 minutes, difficulty 1 of 5)

BERT's block, from its four parts, each a function (B, N, D) -> (B, N, D).
The norms stand on the residual stream itself, after each sum (Vaswani et
al. 2017, section 3.1):

    y = norm1(x + attention(x))
    z = norm2(y + mlp(y))

Hand in both: `{"after_attention": y, "output": z}`. Like
`torch.nn.TransformerEncoderLayer(..., norm_first=False)`.
"""

import torch


def post_norm_block(x, norm1, attention, norm2, mlp):
    """x (B, N, D) and four functions -> dict with after_attention and output, both (B, N, D)."""
    raise NotImplementedError
