"""Matcher for Sticker World: tiny CLIP's patches and tiny SAM (lesson 5.3)."""

from typing import Any

import torch
from torch import nn

from minimodels.clip import CLIP
from minimodels.matcher import Matcher
from minimodels.patch_features import PatchFeatures
from minimodels.sam_everything import SAMProposer
from minimodels.stored import models
from minimodels.vit import ViT

PARTS = ("tiny-clip", "tiny-sam")
SIDE = 128  # pixels: twice a scene's, so that a sticker has 4 x 4 patches or more
# Few clicks, because a sticker has few patches; all masks of each. `least_score` was chosen on the validation split.
NUMBERS: dict[str, Any] = {
    "sizes": (1, 3),
    "draws": 12,
    "num_centers": 0,
    "multimask": True,
    "alpha": 1.0,
    "beta": 0.5,
    "exponent": 0.5,
    "merge": 3,
    "share": 0.97,
    "least_score": 0.84,
}


def load(device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, **numbers: Any) -> Matcher:
    """The embedded Matcher in eval mode, for squares of 128 pixels; `numbers` change its settings.

    Raises:
        UserError: a part of it is not there.
    """
    features, sam = (models.load(name, device, dtype) for name in PARTS)
    return join(features, sam, **(NUMBERS | numbers))


def join(features: nn.Module, sam: Any, **numbers: Any) -> Matcher:
    """Matcher from two models. A ViT or a CLIP gives the patches of its middle block, any other its own."""
    preprocess: Any = getattr(features, "preprocess", None)
    if hasattr(preprocess, "mean"):
        numbers = {"mean": tuple(preprocess.mean), "std": tuple(preprocess.std), **numbers}
    if isinstance(features, CLIP | ViT):
        tower: Any = features.image_tower if isinstance(features, CLIP) else features
        features = PatchFeatures(features, len(tower.blocks) // 2 - 1)
    return Matcher(features, SAMProposer(sam), **numbers).eval()
