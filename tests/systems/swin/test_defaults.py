"""`Swin()` is Swin-T for 224 pixels (Liu et al. 2021, section 3.3), `SwinBackbone()` its segmentation flavour."""

from minimodels.swin import Swin, SwinBackbone, SwinBlock, WindowAttention, same_region
from tests.systems.defaults import defaults, empty, epsilons, parameters

SHARED = {
    "patch_size": 4,
    "embed_dim": 96,
    "depths": (2, 2, 6, 2),
    "num_heads": (3, 6, 12, 24),
    "window_size": 7,
    "mlp_ratio": 4.0,
    "drop_path": 0.0,
}


def test_defaults():
    assert defaults(SwinBackbone) == {**SHARED, "output_norms": False}
    assert defaults(SwinBlock) == {"drop_path": 0.0} and defaults(same_region) == {"device": None}
    assert defaults(WindowAttention.forward) == {"seen": None}
    told = defaults(Swin)
    assert {name: told[name] for name in (*SHARED, "image_size", "num_classes")} == {
        **SHARED,
        "image_size": (224, 224),
        "num_classes": 1000,
    }


def test_they_are_what_timm_builds():
    import timm

    ours, theirs = empty(Swin), empty(timm.create_model, "swin_tiny_patch4_window7_224")
    assert parameters(ours) == parameters(theirs) == 28_288_354
    assert epsilons(ours) == epsilons(theirs) == {1e-5}
    for stage, layer in zip(ours.stages, theirs.layers, strict=True):
        for block, reference in zip(stage.blocks, layer.blocks, strict=True):
            assert block.attn.num_heads == reference.attn.num_heads
            assert (block.window_size, block.window_size) == reference.window_size
