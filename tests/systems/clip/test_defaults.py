"""`CLIP()` is ViT-B/32 and `CLIPResNet()` RN50: Radford et al. 2021, tables 19 and 20; the scale starts at 1 / 0.07."""

import math

import pytest
import torch
from torch import nn

from minimodels.blocks import QuickGELU
from minimodels.clip import CLIP, ImageTower, TextTower
from minimodels.clip_resnet import CLIPResNet, ConvNorm, ResNetTower
from tests.systems.defaults import defaults, empty, epsilons, parameters

TEXT = {
    "text_width": 512,
    "text_depth": 12,
    "text_heads": 8,
    "text_mlp_dim": None,
    "context_length": 77,
    "vocab_size": 49408,
    "quick_gelu": True,
}


def test_defaults():
    assert defaults(CLIP) == {
        "embed_dim": 512,
        "image_size": 224,
        "patch_size": 32,
        "vision_width": 768,
        "vision_depth": 12,
        "vision_heads": 12,
        "vision_mlp_dim": None,
        **TEXT,
    }
    assert defaults(CLIPResNet) == {
        "embed_dim": 1024,
        "image_size": 224,
        "vision_width": 64,
        "vision_depths": (3, 4, 6, 3),
        "vision_heads": 32,
        **TEXT,
    }
    assert defaults(ImageTower) == defaults(TextTower) == {"mlp_dim": None, "quick_gelu": True}
    assert defaults(ImageTower.embed) == {"resize": False}
    assert defaults(ResNetTower) == {} and defaults(ConvNorm) == {"stride": 1}


@pytest.mark.parametrize("cls, name", [(CLIP, "ViT-B-32"), (CLIPResNet, "RN50")])
def test_they_are_the_models_that_open_clip_builds(cls, name):
    """As many parameters as open_clip's, heads and epsilons; QuickGELU, as in OpenAI's weights."""
    import open_clip

    ours, theirs = empty(cls), empty(open_clip.model.CLIP, **open_clip.get_model_config(f"{name}-quickgelu"))
    assert parameters(ours) == parameters(theirs)
    assert epsilons(ours) == epsilons(theirs) == {1e-5}
    towers = [ours.text_tower] + ([ours.image_tower] if cls is CLIP else [])
    their_towers = [theirs.transformer] + ([theirs.visual.transformer] if cls is CLIP else [])
    for tower, other in zip(towers, their_towers, strict=True):
        for block, reference in zip(tower.blocks, other.resblocks, strict=True):
            assert block.attn.num_heads == reference.attn.num_heads
            assert isinstance(block.mlp.activation, QuickGELU)
    if cls is CLIPResNet:
        assert ours.image_tower.attention_pool.num_heads == theirs.visual.attnpool.num_heads


@pytest.mark.parametrize("cls", [CLIP, CLIPResNet])
def test_the_scale_starts_at_the_logarithm_of_one_over_0_07(cls):
    """Radford et al. 2021, section 2.5; and what open_clip starts from."""
    import open_clip

    small = {"text_width": 8, "text_depth": 1, "text_heads": 2, "vocab_size": 9, "embed_dim": 8, "vision_heads": 2}
    more = {"vision_width": 8} | ({"vision_depth": 1} if cls is CLIP else {"vision_depths": (1, 1, 1, 1)})
    scale = cls(**small, **more).logit_scale
    reference = open_clip.model.CLIP(
        embed_dim=8,
        vision_cfg={"layers": 1, "width": 64, "patch_size": 32},
        text_cfg={"width": 8, "heads": 2, "layers": 1, "vocab_size": 9},
    ).logit_scale
    assert float(scale.detach()) == pytest.approx(math.log(1 / 0.07), abs=1e-6)
    assert torch.allclose(scale, reference)


def test_activation_and_mlp_as_told():
    sizes = {"embed_dim": 4, "width": 8, "depth": 1, "num_heads": 2, "image_size": 4, "patch_size": 2}
    exact = ImageTower(**sizes, quick_gelu=False, mlp_dim=5)
    assert isinstance(exact.blocks[0].mlp.activation, nn.GELU) and exact.blocks[0].mlp.fc1.out_features == 5
    assert ImageTower(**sizes).blocks[0].mlp.fc1.out_features == 32  # 4 x the width
