"""2.2.2  GELU and QuickGELU  (10 minutes, difficulty 1 of 5)

Two activations that look alike and are not interchangeable. timm's ViTs
were trained with the exact GELU, OpenAI's CLIP with its quick cousin.

    gelu(x) = x * Phi(x),  Phi(x) = (1 + erf(x / sqrt(2))) / 2
    quick_gelu(x) = x * sigmoid(1.702 x)

Like `torch.nn.functional.gelu(x)`, which you may not call, and like
QuickGELUActivation in transformers.
"""

import math

import torch


def gelu(x):
    """x of any shape -> the same shape, exact."""
    raise NotImplementedError


def quick_gelu(x):
    """x of any shape -> the same shape."""
    raise NotImplementedError
