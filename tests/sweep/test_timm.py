"""timm's part of the sweep: a sample of names of every feature. The whole of it is `python -m tests.sweep`."""

import re

import pytest
import timm
import torch

from checkpoints_convert.tables.timm import ONLY_BY_NAME
from checkpoints_convert.tables.vit import OTHER_HEADS, RELEASED
from tests.sweep import timm_names

AGREE = [
    "test_vit",
    "vit_tiny_patch16_224",
    "flexivit_small",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "resnet18",
    "resnet50",
]
REFUSED = {
    "test_vit2": "global_pool",  # a DINOv2 but for its pooling and its head
    "test_vit3": 'global_pool .* "map"',
    "vit_xsmall_patch16_clip_224": r"a norm before the blocks \(norm_pre",
    "vit_wee_patch16_reg1_gap_256": "global_pool|registers",
    "vit_small_patch16_18x2_224": "parallel blocks",
    "vit_pwee_patch16_reg1_gap_256": "parallel blocks",
    "vit_dwee_patch16_reg1_gap_256": "differential attention|global_pool",
    "vit_small_patch16_36x1_224": "LayerScale|head of class scores",
    "vit_medium_patch16_gap_240": "LayerScale|global_pool",
    "vit_base_patch16_rpn_224": "res-post-norm",
    "vit_base_patch32_siglip_gap_256": "tanh GELU",
    "resnetaa50": 'architecture "resnetaa50"',  # the names and shapes of resnet50
    "resnet50d": "a stem of three convolutions",
    "resnet50_gn": "architecture|running_mean",
    "resnext50_32x4d": "architecture",
    "seresnet18": "attention over channels",
}


@pytest.mark.parity
@pytest.mark.parametrize("name", AGREE)
def test_agrees(name, tmp_path):
    outcome = timm_names.attempt(name, tmp_path)
    assert outcome.agrees, str(outcome)


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_by_what_it_has(name, tmp_path):
    outcome = timm_names.attempt(name, tmp_path)
    assert outcome.refused and "\n" not in outcome.words
    assert re.search(REFUSED[name], outcome.words), outcome.words


def test_what_only_names_tell_is_timms():
    """Heads by width, activations and the place of norms: as timm builds every name today."""
    for name in timm_names.VIT:
        with torch.device("meta"):
            model = timm.create_model(name, depth=1)
        block = model.blocks[0]
        if not hasattr(block, "attn") or not any(name.startswith(kind) for kind in ("vit_", "flexi", "eva_", "test_")):
            continue
        activations = {type(part).__name__ for part in block.mlp.modules()}
        fixed = any(name.startswith(beginning) for beginning in ONLY_BY_NAME)
        odd = "GELUTanh" in activations or type(block).__name__ == "ResPostBlock"
        assert fixed == odd, name
        plain = not fixed and hasattr(block.norm1, "bias") and type(model.norm_pre).__name__ == "Identity"
        if plain and model.embed_dim in RELEASED:
            assert block.attn.num_heads == OTHER_HEADS.get(name, RELEASED[model.embed_dim]), name
