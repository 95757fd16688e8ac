"""Swin beside timm and transformers, at full size and where padding is special; ../test_parity.py has the trials."""

import copy

import pytest
import torch
from einops import rearrange

from checkpoints_convert import build
from checkpoints_convert.proof.references.swin import BASE
from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.proof.verify import beside, difference, redraw_all
from minimodels.errors import UserError
from minimodels.swin import Swin, SwinBackbone
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


TWO = {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 3), "window_size": 4, "patch_size": 2}
SIDES = (8, 12, 16, 18, 20, 22, 24, 28, 30, 32, 34, 40)  # maps of 4 to 20 tokens, then of 2 to 10


@pytest.mark.parity
@pytest.mark.parametrize("height", SIDES)
def test_oblong_pictures_beside_timm(height):
    """Below, at and above the window on both axes: timm's numbers, or one line where its windows are oblong."""
    from timm.models.swin_transformer import SwinTransformer

    for width in SIDES:
        theirs = redraw_all(SwinTransformer(img_size=(height, width), num_classes=5, **TWO)).double()
        tensors = theirs.state_dict()
        last = (-(-height // 4), -(-width // 4))
        if last[0] != last[1] and min(last) < 4:
            with pytest.raises(UserError, match="square windows alone are read here|timm's is oblong"):
                build(tensors, "swin", format="timm", image_size=(height, width))
            continue
        ours = build(tensors, "swin", format="timm", image_size=(height, width))
        image = pictures(2, height, width)
        with torch.no_grad():
            assert difference(ours(image), theirs(image)) <= 1e-10, (height, width)


@pytest.mark.parity
def test_timm_keeps_its_shifts_for_other_pictures():
    """A model of 16 x 32 shifts its second stage across alone, whatever picture it is shown."""
    from timm.models.swin_transformer import SwinTransformer

    model = SwinTransformer(img_size=(16, 32), num_classes=5, strict_img_size=False, **TWO)
    theirs = redraw_all(model).double()
    ours = build(theirs.state_dict(), "swin", format="timm", image_size=(16, 32))
    with torch.no_grad():
        for height, width in ((16, 32), (32, 16), (32, 32), (8, 8), (30, 18), (48, 20)):
            image = pictures(2, height, width)
            assert difference(ours(image), theirs(image)) <= 1e-10, (height, width)


@pytest.mark.parity
@pytest.mark.parametrize("height", [16, 18, 20, 22, 24, 31, 32, 40])
def test_oblong_pictures_beside_transformers(height):
    """The smaller side decides for both axes. transformers remembers the last picture's maps, so it is built anew."""
    sizes = {"image_size": 32, "patch_size": 2, "window_size": 4, "num_labels": 5, **TWO}
    theirs = redraw_all(TRANSFORMERS.build(**sizes)).double()
    ours = TRANSFORMERS.ours(theirs, sizes)
    for width in (16, 17, 18, 20, 24, 32, 38):
        image = pictures(2, height, width)
        with torch.no_grad():
            expected = copy.deepcopy(theirs)(image).logits
            assert difference(ours(image), expected) <= 1e-10, (height, width)


def test_a_map_below_its_window_on_one_axis():
    sizes = {**TWO, "num_classes": 5}
    with pytest.raises(UserError, match="a map of 2 x 4 tokens for a window of 4: timm's is oblong"):
        Swin(image_size=(8, 16), each_axis=True, **sizes)
    Swin(image_size=(8, 8), each_axis=True, **sizes), Swin(image_size=(8, 16), **sizes)


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
