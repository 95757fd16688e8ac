"""CLIP reads its own size alone; its patches, for Matcher, any that can be cut, with positions resized."""

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, tiny, twins
from minimodels.clip import ImageTower
from minimodels.clip_resnet import ResNetTower
from minimodels.errors import UserError
from minimodels.patch_features import PatchFeatures
from minimodels.vit import ViT
from tests.systems.sizes import assert_right_or_refused

OPEN_CLIP, RESNET = reference_named("CLIP ViT", "open_clip"), reference_named("CLIP ResNet", "open_clip")
TRANSFORMERS = reference_named("CLIP ViT", "transformers")


@pytest.mark.parity
@pytest.mark.parametrize(
    "reference, side, sizes",
    [(OPEN_CLIP, 24, (0, 8, 16, 24, 25, 32, 72)), (RESNET, 64, (0, 32, 63, 64, 65, 128))],
    ids=["ViT", "ResNet"],
)
def test_no_other_size(reference, side, sizes):
    """Also not with as many patches: 8 x 72 for 24 x 24, 32 x 128 for 64 x 64."""
    pair = twins(reference)
    ours, theirs = pair.ours.double(), pair.theirs.double()
    assert_right_or_refused(
        ours.encode_image, theirs.encode_image, sizes, sizes, lambda height, width: height == width == side
    )


@pytest.mark.parity
def test_patches_at_any_size_as_transformers():
    """Trained for 24 x 24: 8 x 72 and 72 x 8 have as many patches, whose positions are resized all the same."""
    pair = twins(TRANSFORMERS)
    ours, theirs = PatchFeatures(pair.ours.double(), 1), pair.theirs.double().vision_model

    def tokens(image):
        return theirs(image, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states[2][:, 1:]

    sizes = (0, 7, 8, 12, 16, 24, 32, 72)
    assert_right_or_refused(
        ours.patch_features,
        tokens,
        sizes,
        sizes,
        lambda height, width: not height % 8 and not width % 8 and height * width > 0,
    )


@pytest.mark.parity
def test_patches_of_a_vit_as_timm():
    timm = reference_named("ViT", "timm")
    pair = twins(timm, tiny(timm, dynamic_img_size=True))
    ours, theirs = PatchFeatures(pair.ours.double(), 0), pair.theirs.double()

    def tokens(image):
        return theirs.forward_intermediates(image, [0], output_fmt="NLC", intermediates_only=True)[0]

    assert_right_or_refused(
        ours.patch_features,
        tokens,
        (0, 8, 16, 20, 40),
        (16, 20, 24, 32),
        lambda height, width: not height % 8 and not width % 8 and height * width > 0,
    )


def test_patches_of_no_such_block():
    model = twins(OPEN_CLIP).ours
    depth = len(model.image_tower.blocks)
    assert PatchFeatures(model, depth - 1).block == depth - 1 and PatchFeatures(model, 0).side == 3
    oblong = ViT(image_size=(8, 24), patch_size=8, embed_dim=8, depth=1, num_heads=2, mlp_dim=8)
    assert PatchFeatures(oblong, 0).side == 1  # rows of the table
    for block in (-1, -depth, depth, depth + 1):
        with pytest.raises(UserError, match=f"there is no block {block}: this tower has {depth}, counted from 0"):
            PatchFeatures(model, block)
    with pytest.raises(UserError, match="a CLIPResNet has no patch tokens|a ResNetTower has no patch tokens"):
        PatchFeatures(twins(RESNET).ours, 0)


def test_sizes_that_make_no_tower():
    sizes = {"embed_dim": 4, "width": 8, "num_heads": 2}
    with pytest.raises(UserError, match="image_size 30 is not a multiple of patch_size 8"):
        ImageTower(**sizes, depth=1, image_size=30, patch_size=8)
    for side in (31, 33, 100):
        with pytest.raises(UserError, match=f"image_size {side} is not a multiple of 32"):
            ResNetTower(**sizes, image_size=side, depths=(1, 1, 1, 1))
    tower = ResNetTower(**sizes, image_size=64, depths=(1, 1, 1, 1)).eval()
    assert tower.attention_pool.pos.shape == (5, 256) and tower(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
