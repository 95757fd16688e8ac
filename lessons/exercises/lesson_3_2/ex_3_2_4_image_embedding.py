"""3.2.4  From class token to embedding  (5 minutes, difficulty 1 of 5)

The end of CLIP's image tower: the class token (token 0) alone passes a
LayerNorm with an eps of 1e-5 and a projection without bias into the shared
space. The projection is stored as in OpenAI's files: (D, E), applied as
token @ projection. The embedding is not normalised here.
"""

import torch
import torch.nn.functional as F


def image_embedding(tokens, norm_weight, norm_bias, projection):
    """tokens (B, 1 + N, D), norm_weight (D), norm_bias (D), projection (D, E) -> (B, E)."""
    raise NotImplementedError
