"""2.2.3  The MLP  (5 minutes, difficulty 1 of 5)

Two linear layers with the exact GELU between them, each token alone. Hand
in the steps by name, like the modules of a ViT do it in timm:

    "hidden"       (B, N, M)    after fc1
    "activated"    (B, N, M)    after GELU
    "output"       (B, N, D)    after fc2

`torch.nn.functional.gelu` is allowed here. A linear layer keeps its weight
as (outputs, inputs): y = x W^T + b.
"""

import torch
import torch.nn.functional as F


def mlp(x, fc1_weight, fc1_bias, fc2_weight, fc2_bias):
    """x (B, N, D), fc1_weight (M, D), fc1_bias (M), fc2_weight (D, M), fc2_bias (D) -> dict of three tensors."""
    raise NotImplementedError
