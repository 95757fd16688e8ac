"""A DINOv2 in miniature, of each kind, and pictures for it."""

import torch

from checkpoints_convert.proof.verify import redraw_all
from minimodels.dinov2 import DINOv2

SMALL = {"image_size": 20, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_dim": 48}


KINDS = {
    "plain": {},
    "registers": {"num_registers": 4, "position_offset": 0.0, "antialias": True},
    "SwiGLU": {"swiglu": True, "mlp_dim": 32},  # transformers: two thirds of 48
}


def small(seed: int = 0, **changes) -> DINOv2:
    return redraw_all(DINOv2(**{**SMALL, **changes}), seed).double().eval()


def pictures(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
