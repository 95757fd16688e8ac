"""The four parts of one transformer block, taken out of a torch.nn.TransformerEncoderLayer that is the reference."""

import torch
from torch import nn


def make_parts(random, dim, heads, wide):
    """Functions norm1, attention, norm2, mlp with random weights; `attention.layer` is the layer they come from."""
    settings = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True, "dtype": torch.float64}
    layer = nn.TransformerEncoderLayer(dim, heads, wide, **settings)
    for parameter in layer.parameters():
        parameter.data = random(*parameter.shape) * 0.5
        parameter.requires_grad_(False)

    def norm1(x):
        return layer.norm1(x)

    def attention(x):
        return layer.self_attn(x, x, x, need_weights=False)[0]

    def norm2(x):
        return layer.norm2(x)

    def mlp(x):
        return layer.linear2(nn.functional.gelu(layer.linear1(x)))

    attention.layer = layer
    return {"norm1": norm1, "attention": attention, "norm2": norm2, "mlp": mlp}


def block_cases(random):
    """Tokens and parts of several sizes."""
    for batch, n, heads, d, wide in [(2, 4, 2, 3, 12), (3, 5, 1, 4, 8), (2, 3, 4, 2, 20)]:
        yield {"x": random(batch, n, heads * d) * 2, **make_parts(random, heads * d, heads, wide)}
