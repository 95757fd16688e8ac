"""`CLIPSeg(CLIP(patch_size=16))` is the released rd64: layers 3, 6 and 9 counted from 0, four heads; and the prompts'.

The numbers of the prompts are those of the released code's `img_preprocess` and drawing.
"""

import json

from minimodels import picture_prompts as prompts
from minimodels.clip import CLIP
from minimodels.clipseg import CLIPSeg
from tests.systems.defaults import defaults, empty, epsilons, parameters


def test_defaults():
    assert defaults(CLIPSeg) == {
        "extract_layers": (3, 6, 9),
        "reduce_dim": 64,
        "decoder_heads": 4,
        "decoder_mlp_dim": 2048,
        "refined_kernels": None,
    }


def test_they_are_the_released_decoder(root):
    """The official file counts also `reduce`, which its forward pass never reads: 768 x 64 and 64 numbers."""
    decoder = empty(lambda: CLIPSeg(CLIP(patch_size=16)).decoder)
    official = json.loads((root / "tests/golden/clipseg/rd64-uni/config.json").read_text())
    assert parameters(decoder) + 768 * 64 + 64 == official["parameters"] == 1_122_369
    assert official["model"]["extract_layers"] == [3, 6, 9] and official["model"]["n_heads"] == 4
    assert {block.attn.num_heads for block in decoder.blocks} == {4} and epsilons(decoder) == {1e-5}


def test_defaults_of_the_prompts():
    colours = {"mean": prompts.IMAGENET_MEAN, "std": prompts.IMAGENET_STD}
    assert defaults(prompts.highlight) == {"blur": 0.0, "background": 1.0}
    assert defaults(prompts.mask_box) == {"context": 0.0} and defaults(prompts.crop_to_mask) == {"context": 0.1}
    assert defaults(prompts.tint) == {"background": 1.0, "colour": (1.0, 0.2, 0.2), **colours}
    assert defaults(prompts.outline) == {"colour": (1.0, 0.0, 0.0), **colours}
    for encode in (prompts.encode_masked_class, prompts.encode_masked_patches, prompts.encode_scaled):
        assert defaults(encode) == {"layers": None}
    assert prompts.GREY == (0.299, 0.587, 0.114) and prompts.KERNEL == 15 and prompts.OUTLINE == 3
    assert prompts.IMAGENET_MEAN == (0.485, 0.456, 0.406) and prompts.IMAGENET_STD == (0.229, 0.224, 0.225)
