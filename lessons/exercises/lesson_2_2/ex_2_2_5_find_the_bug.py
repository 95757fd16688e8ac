"""2.2.5  Find the bug: a block that trains badly  (10 minutes, difficulty 3 of 5)

Somebody's block. It runs, its shapes are right, deep stacks of it train
poorly, and official weights give nonsense in it. It should be the pre-norm
block with LayerNorm's eps of 1e-6 and the exact GELU, like timm's. One line
is wrong. Find it and repair it.
"""

import torch
import torch.nn.functional as F


def transformer_block(x, weights, attention):
    """x (B, N, D), a dict of weights by timm's names, attention a function of normalised tokens -> (B, N, D)."""

    def norm(tokens, name):
        return F.layer_norm(tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def linear(tokens, name):
        return F.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    normed = norm(x, "norm1")
    x = normed + attention(normed)
    normed = norm(x, "norm2")
    hidden = F.gelu(linear(normed, "mlp.fc1"))
    x = x + linear(hidden, "mlp.fc2")
    return x
