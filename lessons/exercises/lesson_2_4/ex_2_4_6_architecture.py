"""2.4.6  Read the architecture off the tensors  (15 minutes, difficulty 2 of 5)

A checkpoint tells how its model was built. Given converted tensors by this
project's names, find

    "embed_dim"      D
    "depth"          the number of blocks
    "mlp_dim"        hidden width of the MLP
    "patch_size"     p, from patch_proj.weight (D, 3 * p * p)
    "num_patches"    N, from pos (1 + N, D): there is a class token
    "num_classes"    from head.weight (classes, D)

all of them whole numbers (int). Names look like
`blocks.11.attn.qkv.weight` (3D, D) and `blocks.0.mlp.fc1.weight` (`mlp_dim`, D).
"""

import torch


def read_architecture(tensors):
    """{name: tensor} -> dict of six whole numbers."""
    raise NotImplementedError
