"""A CLIPS reads its own size alone, and whole rows of ids."""

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, twins
from minimodels.clips import CLIPS
from minimodels.errors import UserError
from tests.systems.sizes import assert_right_or_refused

REFERENCE = reference_named("CLIPS", "open_clip")
SMALL = {"embed_dim": 4, "vision_width": 8, "vision_depth": 1, "vision_heads": 2, "vision_mlp_dim": 8}
SMALL |= {"text_width": 8, "text_depth": 1, "text_heads": 2, "text_mlp_dim": 8, "vocab_size": 9, "context_length": 5}


@pytest.mark.parity
def test_no_other_size():
    """Also not with as many patches: 8 x 72 for 24 x 24."""
    pair = twins(REFERENCE)
    ours, theirs = pair.ours.double(), pair.theirs.double()
    sizes = (0, 8, 16, 24, 25, 32, 72)
    assert_right_or_refused(
        ours.encode_image, theirs.encode_image, sizes, sizes, lambda height, width: height == width == 24
    )


@pytest.mark.parity
def test_rows_are_read_whole():
    """What stands last is pooled: rows cut short would pool another token, so they are refused."""
    pair = twins(REFERENCE)
    ours, theirs, ids = pair.ours.double(), pair.theirs.double(), pair.inputs["ids"]
    torch.testing.assert_close(ours.encode_text(ids), theirs.encode_text(ids), atol=1e-10, rtol=1e-10)
    assert torch.equal(ours.trim(ids), ids)
    for length in (0, 1, 8, 10):
        with pytest.raises(UserError, match=f"rows of {length} ids, this text tower reads the whole context of 9"):
            ours.encode_text(torch.zeros(2, length, dtype=torch.long))
    nothing = torch.zeros(0, 3, 24, 24, dtype=torch.float64)
    assert ours.encode_text(ids[:0]).shape == (0, 20) and ours.encode_image(nothing).shape == (0, 20)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"image_size": 30, "patch_size": 8}, "image_size 30 is not a multiple of patch_size 8"),
        ({"vision_heads": 3}, "8 cannot be split into 3 heads"),
        ({"text_heads": 5}, "8 cannot be split into 5 heads"),
    ],
)
def test_sizes_that_make_no_towers(changes, words):
    with pytest.raises(UserError, match=words):
        CLIPS(**{**SMALL, "image_size": 16, "patch_size": 8, **changes})
