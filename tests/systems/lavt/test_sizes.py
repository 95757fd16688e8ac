"""LAVT on pictures of any height and width: logits of that size, or the size is refused."""

import torch

from tests.systems.lavt.small import given, small
from tests.systems.sizes import assert_right_or_refused


def test_every_size_is_answered_or_refused():
    """A last map of one position alone is refused: at most 8 pixels on both axes."""
    model = small()
    _, ids, mask = given()

    def logits(image):
        found = model(image, ids, mask)
        assert found.shape[-2:] == image.shape[-2:]
        return found

    sizes = (1, 3, 8, 9, 16, 21)
    assert_right_or_refused(logits, None, sizes, sizes, lambda height, width: height > 8 or width > 8)


def test_padding_is_what_the_backbone_pads():
    """A picture that is no whole number of patches gives what the same picture with zeros behind it gives inside."""
    model, (image, ids, mask) = small(), given(height=21, width=30)
    padded = torch.nn.functional.pad(image, (0, -30 % 2, 0, -21 % 2))
    with torch.no_grad():
        words = model.encode_text(ids, mask)
        ours, theirs = (model.maps(each, words, mask)["Y_1"] for each in (image, padded))
    assert torch.equal(ours, theirs)
