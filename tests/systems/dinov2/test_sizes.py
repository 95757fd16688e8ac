"""DINOv2 on pictures of any height and width: with registers as both libraries, without them as the official code.

Where the libraries resize in another way than the official code (test_parity.py), its rule is written out here a second
time: the factor handed on is (cells + 0.1) / trained cells, rows first.
"""

import pytest
import torch
import torch.nn.functional as F

from checkpoints_convert.proof.suite import reference_named, tiny, twins
from minimodels.dinov2 import DINOv2
from minimodels.errors import UserError
from tests.systems.sizes import assert_right_or_refused

SIZES = (0, 7, 14, 20, 28, 42, 56, 70)


def multiples(height: int, width: int) -> bool:
    return not height % 14 and not width % 14 and height * width > 0


@pytest.mark.parity
@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_with_registers_as_the_libraries(library):
    """Both resize in float32, so do the answers agree. One patch wide torch's smoothing cannot judge (see ViT)."""
    reference = reference_named("DINOv2 registers", library)
    changes = {"dynamic_img_size": True} if library == "timm" else {}
    pair = twins(reference, tiny(reference, **changes))
    ours, theirs = pair.ours.double(), pair.theirs.double()
    widths = [size for size in SIZES if size != 14]
    assert_right_or_refused(
        lambda image: ours.encode(image).patches,
        lambda image: reference.run_reference(theirs, image)["patches"],
        SIZES,
        widths,
        multiples,
        tolerance=1e-5,
    )


@pytest.mark.parity
def test_without_registers_as_the_official_code():
    """The same model whose table is resized beforehand, by the rule as the official code spells it."""
    model = twins(reference_named("DINOv2", "timm")).ours.double()
    side, trained = model.side, model.pos.detach().clone()

    def official(image):
        rows, columns = image.shape[-2] // 14, image.shape[-1] // 14
        table = trained[1:].T.reshape(1, -1, side, side)
        if (rows, columns) != (side, side):
            factors = ((rows + 0.1) / side, (columns + 0.1) / side)
            table = F.interpolate(table, scale_factor=factors, mode="bicubic", antialias=False)
        assert table.shape[-2:] == (rows, columns)
        positions = torch.cat([trained[:1], table.flatten(2)[0].T])
        x = model.patch_proj(F.unfold(image, 14, stride=14).transpose(1, 2))
        x = torch.cat([model.class_token.expand(len(x), 1, -1), x], dim=1) + positions
        for block in model.blocks:
            x = block(x)
        return model.norm(x)[:, 1:]

    assert_right_or_refused(lambda image: model.encode(image).patches, official, SIZES, SIZES, multiples)


def test_sizes_that_make_no_table():
    with pytest.raises(UserError, match="image_size 27 is not a multiple of patch_size 14"):
        DINOv2(image_size=27, depth=0)
