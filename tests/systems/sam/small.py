"""A SAM in miniature, pictures and prompts for it, and the reference."""

import torch

from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import redraw_all
from minimodels.sam import SAM

REFERENCE = reference_named("SAM", "transformers")


SMALL = {
    "image_size": 40, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 32, "window_size": 3,
    "global_blocks": (1,), "prompt_dim": 16, "mask_channels": 8, "decoder_heads": 2, "decoder_mlp_dim": 24,
    "iou_dim": 12,
}  # fmt: skip


def small(seed: int = 0, **changes) -> SAM:
    return redraw_all(SAM(**{**SMALL, **changes}), seed).double()


def prompts(images: int, count: int, points: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(images, count, 2, 2, generator=generator, dtype=torch.float64) * 39
    return {
        "points": torch.rand(images, count, points, 2, generator=generator, dtype=torch.float64) * 39,
        "labels": torch.randint(-1, 2, (images, count, points), generator=generator),
        "boxes": torch.cat([corners.amin(2), corners.amax(2)], dim=-1),
        "mask": torch.randn(images, count, 20, 20, generator=generator, dtype=torch.float64),
    }


def pictures(count: int, side: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
