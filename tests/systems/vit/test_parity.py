"""ViT beside timm and transformers at other and at full sizes; ../test_parity.py has the trials."""

from dataclasses import replace

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, tiny, twins
from checkpoints_convert.proof.verify import beside, difference

pytestmark = pytest.mark.parity


TIMM = reference_named("ViT", "timm")


TRANSFORMERS = reference_named("ViT", "transformers")


@pytest.mark.parametrize("image_size", [(16, 24), (24, 16), (48, 56), (8, 8), (8, 48), (64, 16)])
@pytest.mark.parametrize("changes", [{}, {"global_pool": "avg", "class_token": False}], ids=["class", "no class"])
def test_timm_at_other_sizes(image_size, changes, device):
    """timm resizes positions in float32 whatever the model is in, and smooths where it shrinks; so do we."""
    pair = twins(TIMM, tiny(TIMM, dynamic_img_size=True, **changes), device=device, image_size=image_size)
    if device.type == "cpu":
        pair.assert_same()
        return
    # A GPU adds up the gradient of this float32 resize in any order: what lies behind it is exact, the table's own not.
    comparison = pair.compare()
    rest = [row for row in comparison.rows if row.kind == "parameters"]
    assert all(row.status == "OK" for row in comparison.rows if row not in rest), f"\n{comparison}"
    assert all(row.largest <= 1e-5 for row in rest), f"\n{comparison}"


def test_one_column_of_patches():
    """On a CPU torch's antialiased resize is wrong for timm's memory order when the new grid is one patch wide (torch
    2.15), so timm cannot judge here: plain memory order and one axis at a time can."""
    ours = twins(TIMM, tiny(TIMM, global_pool="avg", class_token=False)).ours
    table = ours.pos.detach().double().T.reshape(1, 24, 2, 3).contiguous()
    how = {"mode": "bicubic", "align_corners": False, "antialias": True}
    one_row_wide = torch.nn.functional.interpolate(table, size=(2, 1), **how)
    expected = torch.nn.functional.interpolate(one_row_wide, size=(8, 1), **how)
    # Ours is float32, as timm's: 16 terms, so 16 roundings of 6e-8 of numbers up to 2.
    assert difference(ours.positions((8, 1)), expected[0, :, :, 0].T) <= 2e-6


def test_transformers_backbone(device):
    """ViTModel: the same tokens; its pooler (a tanh layer that classifies nothing) is dropped with a reason."""
    backbone = replace(
        TRANSFORMERS,
        format="transformers_v5_backbone",
        pairs=[("blocks.{i}", "layers.{i}"), ("norm", "layernorm")],
    )
    twins(backbone, {**tiny(TRANSFORMERS), "head": False}, device=device).assert_same()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"])
def test_timm_full_size(name, device):
    assert (comparison := beside(TIMM, TIMM.official[name], device=device, batch=1)).ok, f"\n{comparison}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["google/vit-base-patch16-224"])
def test_transformers_full_size(name, device):
    comparison = beside(TRANSFORMERS, TRANSFORMERS.official[name], device=device, batch=1)
    assert comparison.ok, f"\n{comparison}"
