"""2.3.3  Class token and positions  (5 minutes, difficulty 1 of 5)

Put the learned class token before the patches of every picture, then add
the learned positions, one row a token (Dosovitskiy et al. 2021, eq. 1):

    z = [class; patch 1; ...; patch N] + pos

Like _pos_embed of timm's VisionTransformer.
"""

import torch


def add_class_token(patches, class_token, pos):
    """patches (B, N, D), class_token (D), pos (1 + N, D) -> tokens (B, 1 + N, D)."""
    raise NotImplementedError
