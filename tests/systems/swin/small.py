"""A Swin in miniature, and pictures for it."""

import torch

from checkpoints_convert.proof.verify import redraw_all
from minimodels.swin import SwinBackbone

SMALL = {"patch_size": 2, "embed_dim": 12, "depths": (2, 3, 2), "num_heads": (2, 3, 4), "window_size": 4}


def pictures(batch: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)


def backbone(seed: int = 0, **changes) -> SwinBackbone:
    return redraw_all(SwinBackbone(**{**SMALL, **changes}), seed).double()
