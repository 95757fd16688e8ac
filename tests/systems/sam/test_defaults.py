"""`SAM()` is ViT-B as released; the mask generator has the released generator's numbers."""

import json

from minimodels import sam_everything as generator
from minimodels.sam import SAM, CrossAttention
from tests.systems.defaults import defaults, empty, epsilons, parameters


def test_defaults():
    assert defaults(SAM) == {
        "image_size": 1024,
        "patch_size": 16,
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "mlp_dim": 3072,
        "window_size": 14,
        "global_blocks": (2, 5, 8, 11),
        "prompt_dim": 256,
        "mask_channels": 16,
        "decoder_depth": 2,
        "decoder_heads": 8,
        "decoder_mlp_dim": 2048,
        "decoder_eps": 1e-5,
        "num_masks": 3,
        "iou_dim": 256,
    }
    assert defaults(SAM.decode) == dict.fromkeys(("points", "labels", "boxes", "mask")) | {"multimask": True}
    assert defaults(SAM.forward) == defaults(SAM.decode)


def test_they_are_the_released_model(root):
    """As many numbers as the official file holds (the frequencies among them), its heads, epsilons and windows."""
    model = empty(SAM)
    official = json.loads((root / "tests/golden/sam/vit_b_keys/config.json").read_text())
    assert parameters(model) + model.prompt_encoder.frequencies.numel() == official["parameters"]
    assert {block.attn.num_heads for block in model.image_encoder.blocks} == {12}
    windows = [block.attn.window for block in model.image_encoder.blocks]
    assert windows == [14, 14, None] * 4
    assert epsilons(model.image_encoder) == {1e-6} and epsilons(model.mask_decoder.blocks) == {1e-5}
    attentions = [part for part in model.mask_decoder.modules() if isinstance(part, CrossAttention)]
    assert len(attentions) == 7 and {attention.num_heads for attention in attentions} == {8}
    assert model.mask_decoder.final_norm.eps == 1e-5


def test_the_generators_defaults():
    """Released: 32 points a side, 64 at once, IoU above 0.88, stability from 0.95 with offset 1, overlap 0.7."""
    assert defaults(generator.MaskGenerator) == {
        "points_per_side": 32,
        "points_per_batch": 64,
        "keep": generator.Keep(multimask=True, layers=(), iou=0.88, stability=0.95, offset=1.0),
        "nms": 0.7,
        "crop_layers": 0,
        "crop_overlap": 512 / 1500,
        "crop_nms": 0.7,
        "crop_downscale": 1,
        "min_region": 0,
        "threshold": 0.0,
    }
    assert defaults(generator.Keep) == {
        "multimask": True,
        "layers": (),
        "iou": 0.88,
        "stability": 0.95,
        "offset": 1.0,
    }
    assert defaults(generator.stability) == {"threshold": 0.0, "offset": 1.0} and generator.NEAR == 20
