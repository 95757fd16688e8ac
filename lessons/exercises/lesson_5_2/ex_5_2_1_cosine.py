"""5.2.1  Every patch against every patch  (10 minutes, difficulty 1 of 5)

Features of two pictures, one row a patch. `similarity` compares each
reference patch with each target patch by the cosine of the angle between
their features, like `torch.nn.functional.cosine_similarity`. `nearest` says
for each marked reference patch which target patch is most similar: one-way
matching.
"""

import torch


def similarity(reference, target):
    """reference (R, D), target (N, D) -> cosines (R, N)."""
    raise NotImplementedError


def nearest(cosines, marked):
    """cosines (R, N), marked (R) bool -> target patch of each marked one, int64, in the order of the reference."""
    raise NotImplementedError
