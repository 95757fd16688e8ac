"""4.3.4  A class token that looks at the object  (15 minutes, difficulty 3 of 5)

Another picture prompt leaves the picture alone and changes the attention:
the scores of the class token (row 0) for patches outside the object are
multiplied by 0 BEFORE the softmax. Zero, not minus infinity: such a patch
keeps the weight of a score of 0. So it is in the released code, and the
numbers of its golden cases need it. All other rows stay as they are, and
the class token keeps its score for itself. Scores are scaled as always.
Like softmax(scores * scale) @ v with a scale of ones and zeros.
"""

import torch
from einops import einsum


def masked_attention(q, k, v, seen):
    """q, k, v (B, heads, 1 + N, head_dim), seen (B, N) bool, True on the object's patches
    -> (B, heads, 1 + N, head_dim)."""
    raise NotImplementedError
