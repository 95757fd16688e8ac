"""`DINOv2()` is ViT-L/14 of the first release: the official hub's numbers, its positions resized by 0.1 more."""

import torch

from minimodels.dinov2 import DINOv2, ScaledBlock, SwiGLU
from tests.systems.defaults import defaults, empty, epsilons, parameters


def test_defaults():
    assert defaults(DINOv2) == {
        "image_size": 518,
        "patch_size": 14,
        "embed_dim": 1024,
        "depth": 24,
        "num_heads": 16,
        "mlp_dim": 4096,
        "swiglu": False,
        "num_registers": 0,
        "class_position": True,
        "position_offset": 0.1,
        "antialias": False,
        "scale_init": 1.0,
    }
    assert defaults(ScaledBlock) == {"swiglu": False, "scale_init": 1.0}
    assert defaults(DINOv2.encode) == {"masked": None} and defaults(DINOv2.intermediate) == {"layers": 1, "norm": True}


def test_they_are_the_released_model():
    """304,368,640 parameters (300 M in the table of the repository), 37 x 37 positions and one, epsilon 1e-6."""
    model = empty(DINOv2)
    assert parameters(model) == 304_368_640 and model.pos.shape == (37 * 37 + 1, 1024)
    assert epsilons(model) == {1e-6} and model.register_tokens is None
    assert {block.attn.num_heads for block in model.blocks} == {16}


def test_scales_start_where_they_are_told():
    sizes = {"image_size": 28, "embed_dim": 8, "depth": 2, "num_heads": 2, "mlp_dim": 12}
    for told, value in (({}, 1.0), ({"scale_init": 1e-5}, 1e-5)):
        for block in DINOv2(**sizes, **told).blocks:
            assert torch.equal(block.scale1, torch.full((8,), value))
            assert torch.equal(block.scale2, torch.full((8,), value))
    gated = DINOv2(**sizes, swiglu=True)
    assert all(isinstance(block.mlp, SwiGLU) for block in gated.blocks)


def test_the_mask_token_starts_at_zero():
    """As the official code's `init_weights`."""
    assert not DINOv2(image_size=28, embed_dim=8, depth=0, num_heads=2, mlp_dim=12).mask_token.any()
