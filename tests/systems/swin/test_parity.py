"""Swin beside timm and transformers, at full size and where padding is special; ../test_parity.py has the trials."""

import pytest
import torch
from einops import rearrange

from checkpoints_convert.proof.mutants.swin import look
from checkpoints_convert.proof.references.swin import BASE
from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.proof.verify import beside, difference, redraw_all
from minimodels.swin import FittedBlock, SwinBackbone
from tests.systems.swin.small import pictures

TIMM, TRANSFORMERS = reference_named("Swin", "timm"), reference_named("Swin", "transformers")


BACKBONE = reference_named("Swin backbone", "transformers")


@pytest.mark.parity
def test_backbone_same_as_timm_where_nothing_is_padded(device):
    """timm's `always_partition` is the same flavour; but where a map needs padding, timm pads after the roll."""
    from timm.models.swin_transformer import SwinTransformer

    sizes = {"embed_dim": 12, "depths": (2, 2, 2), "num_heads": (2, 3, 4), "window_size": 4, "patch_size": 2}
    theirs = redraw_all(SwinTransformer(img_size=32, always_partition=True, num_classes=0, **sizes)).double()
    tensors = TIMM.to_ours(theirs.state_dict())
    ours = SwinBackbone(**sizes).double().eval()
    ours.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith("norm.")})
    ours, theirs, image = ours.to(device), theirs.to(device), pictures(2, 32, 32).to(device)
    maps = theirs.forward_intermediates(image, intermediates_only=True)
    for found, expected in zip(ours(image), maps, strict=True):
        assert difference(found, rearrange(expected, "b d h w -> b h w d")) <= 1e-10


@pytest.mark.parity
def test_timm_pads_after_the_roll(monkeypatch):
    """At 28 pixels maps are 14, 7 and 4 wide for a window of 4. The official classifier refuses such sizes,
    transformers pads before it rolls, as we do; a block that pads afterwards gives timm's numbers. (Where the padding
    is as wide as the shift, as in the map of 14, the order does not matter: the windows' groups are the same.)"""
    from timm.models.swin_transformer import SwinTransformer

    sizes = {"embed_dim": 12, "depths": (2, 2, 2), "num_heads": (2, 3, 4), "window_size": 4, "patch_size": 2}
    theirs = redraw_all(SwinTransformer(img_size=28, num_classes=5, **sizes)).double()
    ours = TIMM.ours(theirs, {"img_size": 28})
    image = pictures(2, 28, 28)
    with torch.no_grad():
        assert difference(ours(image), theirs(image)) > 1e-3
        monkeypatch.setattr(FittedBlock, "look_around", lambda block, x: look(block, x, pad="after the roll"))
        assert difference(ours(image), theirs(image)) <= 1e-10


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("sizes", [BASE, {**BASE, "window_size": 12, "img_size": 384}], ids=["B 224", "B 384"])
def test_same_as_timm_at_full_size(sizes, device):
    assert (comparison := beside(TIMM, sizes, device=device, batch=1)).ok, f"\n{comparison}"


def test_the_comparison_of_gradients_catches_a_stopped_one():
    pair = twins(BACKBONE)
    pair.ours.stages[0].merge.register_forward_hook(lambda module, given, output: output.detach())
    found = pair.compare()
    assert not found.ok and found.largest("output") <= 1e-10


def test_no_size_is_remembered():
    """transformers' classifier keeps the shift it chose for the last picture's maps; ours chooses anew each time."""
    pair = twins(TRANSFORMERS)
    large, small = pictures(1, 60, 60), pictures(1, 38, 38)
    ours, theirs = pair.ours.double(), pair.theirs.double()
    with torch.no_grad():
        first, reference = ours(large), theirs(large).logits
        assert difference(first, reference) <= 1e-10
        ours(small), theirs(small)
        assert difference(ours(large), first) <= 1e-12
        assert difference(theirs(large).logits, reference) > 1e-3
