"""Prompts from pictures in float16 and bfloat16, and the patches of a CLIP: at the trained size and at another one."""

import pytest
import torch
from torch import nn

from minimodels import picture_prompts as prompts
from minimodels.patch_features import PatchFeatures
from tests.systems.clipseg.small import pictures, small
from tests.systems.halves import HALVES, assert_close_in_half


def ellipse(side: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((y - side / 2) ** 2 / 2 + (x - side / 3) ** 2 <= (side / 3) ** 2).expand(2, -1, -1)


PICTURES = {
    "highlight": lambda image, mask: prompts.highlight(image, mask, blur=2.0, background=0.3),
    "crop": lambda image, mask: prompts.crop_to_mask(image, mask, size=24),
    "tint": lambda image, mask: prompts.tint(image, mask, background=0.5),
    "outline": lambda image, mask: prompts.outline(image, mask),
}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.float64], ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_changed_pictures(name, mask_dtype, dtype):
    """The picture's format counts, not that of its mask."""
    mask = ellipse(40).to(mask_dtype)
    assert_close_in_half(
        nn.Identity(), lambda model, image: {name: PICTURES[name](image, mask)}, {"image": pictures(2, 40)}, dtype
    )


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("side", [32, 56])
def test_prompts_and_masks(side, dtype):
    """Trained for 32; a mask is asked for by each prompt, mixed and alone."""
    mask = ellipse(side)

    def run(model, image):
        by_class = prompts.encode_masked_class(model, image, mask, layers=[1, 3])
        by_patches = prompts.encode_masked_patches(model, image, mask)
        mixed = prompts.mix(by_class, by_patches, 0.3)
        return {
            "class": by_class,
            "patches": by_patches,
            "whole": model.encode_image(image),
            "masks": model(image, mixed[:, None]),
        }

    assert_close_in_half(small(), run, {"image": pictures(2, side)}, dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("side", [32, 24])
def test_patches_of_a_clip(side, dtype):
    assert_close_in_half(
        PatchFeatures(small().clip, 2),
        lambda model, image: {"patches": model.patch_features(image)},
        {"image": pictures(2, side)},
        dtype,
    )
