"""`ViT()` is ViT-B/16 as timm holds it: Dosovitskiy et al. 2021, table 1; timm's epsilon and smoothed positions."""

import torch

from minimodels.blocks import resize_positions
from minimodels.vit import ViT
from tests.systems.defaults import defaults, empty, epsilons, parameters


def test_defaults():
    assert defaults(ViT) == {
        "image_size": (224, 224),
        "patch_size": 16,
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "mlp_dim": 3072,
        "num_classes": 1000,
        "class_token": True,
        "mean_pool": False,
        "norm_after_pool": False,
        "qkv_bias": True,
        "norm_eps": 1e-6,
        "antialias": True,
    }


def test_they_are_the_parts_that_timm_builds():
    """As many parameters, heads and the same epsilons as timm's vit_base_patch16_224; positions smoothed."""
    import timm

    ours = empty(ViT)
    theirs = empty(timm.create_model, "vit_base_patch16_224")
    assert parameters(ours) == parameters(theirs) == 86_567_656
    assert epsilons(ours) == epsilons(theirs) == {1e-6}
    assert {block.attn.num_heads for block in ours.blocks} == {block.attn.num_heads for block in theirs.blocks} == {12}
    small = ViT(image_size=(8, 8), patch_size=1, embed_dim=6, depth=0, num_heads=1, mlp_dim=4, num_classes=0)
    smooth = resize_positions(small.pos[1:], (8, 8), (3, 3), antialias=True)
    assert torch.equal(small.positions((3, 3))[1:], smooth)
