"""Matcher for Sticker World: its parts, their format, and whose numbers win."""

import pytest
import torch
from torch import nn

from minimodels.clip import CLIP
from minimodels.dinov2 import DINOv2
from minimodels.patch_features import PatchFeatures
from minimodels.pixels.preprocess import CLIPPreprocess
from minimodels.sam import SAM
from minimodels.stored import tiny_matcher
from minimodels.vit import ViT
from tests.systems.clipseg.small import SMALL_CLIP
from tests.systems.matcher.test_half import SMALL_DINO
from tests.systems.matcher.test_model import SMALL_SAM, Colours

NUMBERS = {"embed_dim": 12, "num_heads": 2, "mlp_dim": 12, "image_size": (8, 8), "patch_size": 4}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_both_parts_have_the_format(dtype):
    model = tiny_matcher.load(dtype=dtype)
    sam = model.generator.proposer.sam
    assert {parameter.dtype for part in (model, sam) for parameter in part.parameters()} == {dtype}
    assert not model.training and not model.features.training and not sam.training


def test_numbers_that_are_told_win():
    told = {"least_score": 0.5, "draws": 3, "sizes": (2, 2), "share": 0.1}
    plain, changed = tiny_matcher.load(), tiny_matcher.load(**told)
    assert (plain.least_score, plain.draws, plain.sizes, plain.share) == (0.84, 12, (1, 3), 0.97)
    assert {name: getattr(changed, name) for name in told} == told
    assert changed.merge == plain.merge == 3 and changed.weights == plain.weights == (1.0, 0.5, 0.5)


def test_the_features_own_mean_unless_another_is_told():
    features = CLIP(**SMALL_CLIP)
    features.preprocess = CLIPPreprocess(32)
    model = tiny_matcher.join(features, SAM(**SMALL_SAM))
    assert (
        model.mean == tuple(features.preprocess.mean) != tiny_matcher.Matcher(Colours(), model.generator.proposer).mean
    )
    assert model.std == tuple(features.preprocess.std)
    told = tiny_matcher.join(features, SAM(**SMALL_SAM), mean=(0.0, 0.1, 0.2), std=(1.0, 2.0, 3.0))
    assert told.mean == (0.0, 0.1, 0.2) and told.std == (1.0, 2.0, 3.0)
    plain = tiny_matcher.join(Colours(), SAM(**SMALL_SAM))
    assert plain.mean == (0.485, 0.456, 0.406) and isinstance(plain.features, Colours)


@pytest.mark.parametrize("depth, block", [(2, 0), (3, 0), (4, 1), (12, 5)])
def test_the_middle_block(depth, block):
    for features in (ViT(**NUMBERS, depth=depth), CLIP(**{**SMALL_CLIP, "vision_depth": depth})):
        model = tiny_matcher.join(features, SAM(**SMALL_SAM))
        assert isinstance(model.features, PatchFeatures) and model.features.block == block


def test_others_give_their_own_patches():
    features: nn.Module = DINOv2(**SMALL_DINO).train()
    model = tiny_matcher.join(features, SAM(**SMALL_SAM))
    assert model.features is features and model.patch_size == 4 and not features.training
