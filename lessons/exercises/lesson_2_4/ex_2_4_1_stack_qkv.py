"""2.4.1  Three matrices into one, and back  (5 minutes, difficulty 1 of 5)

transformers keeps the projections of q, k and v apart, timm and this
project keep one matrix with 3D rows: first the rows of q, then k, then v,
as `torch.nn.MultiheadAttention`'s `in_proj_weight`. Write both directions;
biases (one axis) must pass through the same functions.
"""

import torch


def stack_qkv(query, key, value):
    """Three weights (D, D), or three biases (D) -> one (3D, D), or (3D)."""
    raise NotImplementedError


def split_qkv(stacked):
    """One weight (3D, D) or bias (3D) -> the three, as a tuple (query, key, value)."""
    raise NotImplementedError
