"""2.3.6  The whole ViT, forward  (20 minutes, difficulty 3 of 5)

Everything together, with parts taken from a model of timm. `parts` is a
dict:

    "patch_size"    p
    "patch_proj"    a function (B, N, 3pp) -> (B, N, D); patches as in 2.3.1
    "class_token"   (D)
    "pos"           (1 + N, D)
    "blocks"        a list of functions (B, 1 + N, D) -> (B, 1 + N, D)
    "norm"          a function on tokens, used once, at the end
    "head"          a function (B, D) -> (B, classes), on the class token

Hand in {"embedded": tokens before the first block, "encoded": tokens after
the norm, "logits": class scores}, like timm's VisionTransformer.
"""

import torch
from einops import rearrange


def vit(image, parts):
    """image (B, 3, H, W) -> dict with embedded, encoded (B, 1 + N, D) and logits (B, classes)."""
    raise NotImplementedError
