"""ViT on pictures of any height and width: what timm and transformers answer, or an error that names the size."""

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, tiny, twins
from minimodels.errors import UserError
from minimodels.vit import ViT
from tests.systems.defaults import empty
from tests.systems.sizes import assert_right_or_refused

TIMM, TRANSFORMERS = reference_named("ViT", "timm"), reference_named("ViT", "transformers")
SIZES = (0, 1, 7, 8, 12, 16, 20, 24, 32, 40)


def multiples(height: int, width: int) -> bool:
    return not height % 8 and not width % 8 and height * width > 0


@pytest.mark.parity
def test_as_timm():
    """Trained for 16 x 24. One patch wide, timm cannot judge (see test_parity.py), so that no width is 8."""
    pair = twins(TIMM, tiny(TIMM, dynamic_img_size=True))
    widths = [size for size in SIZES if size != 8]
    assert_right_or_refused(pair.ours.double(), pair.theirs.double(), SIZES, widths, multiples)


@pytest.mark.parity
def test_as_transformers():
    """Trained for 32 x 32; 16 x 64 has as many patches."""
    pair = twins(TRANSFORMERS, tiny(TRANSFORMERS, image_size=32))
    ours, theirs = pair.ours.double(), pair.theirs.double()
    assert_right_or_refused(
        ours, lambda image: TRANSFORMERS.run_reference(theirs, image)["logits"], (*SIZES, 64), (*SIZES, 64), multiples
    )


@pytest.mark.parametrize("image_size", [(224, 230), (230, 224), (224, 8), (15, 16)])
def test_sizes_that_make_no_table(image_size):
    with pytest.raises(UserError, match="is not a multiple of patch_size 16"):
        empty(ViT, image_size=image_size)


def test_nothing_to_pool():
    """Without a class token the first patch is no summary: it is never pooled."""
    with pytest.raises(UserError, match="nothing to pool but the patches: pass mean_pool=True"):
        empty(ViT, class_token=False)
    model = empty(ViT, class_token=False, mean_pool=True)
    assert model.class_token is None and model.pos.shape == (196, 768)


def test_the_mean_is_of_the_patches_alone():
    sizes = {"image_size": (4, 4), "patch_size": 2, "embed_dim": 6, "depth": 1, "num_heads": 1, "mlp_dim": 4}
    image = torch.randn(2, 3, 4, 4)
    for class_token in (False, True):
        model = ViT(**sizes, num_classes=0, class_token=class_token, mean_pool=True).eval()
        assert torch.equal(model(image), model.encode(image)[:, -4:].mean(dim=1))
