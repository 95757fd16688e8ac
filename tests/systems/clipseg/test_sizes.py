"""CLIPSeg reads squares of any whole number of patches, as transformers does; all else is refused."""

import pytest

from checkpoints_convert.proof.suite import reference_named, twins
from tests.systems.clipseg.small import words
from tests.systems.sizes import assert_right_or_refused


@pytest.mark.parity
def test_squares_as_transformers():
    """Patches of 4, trained for 24 x 24; 12 x 48 has as many patches and is refused."""
    pair = twins(reference_named("CLIPSeg", "transformers"))
    ours, theirs, ids = pair.ours.double(), pair.theirs.double(), words(2)

    def masks(image):
        return theirs(pixel_values=image, input_ids=ids).logits

    assert_right_or_refused(
        lambda image: ours(image, ours.encode_text(ids)[:, None])[:, 0],
        masks,
        (0, 3, 4, 8, 12, 22, 24, 28, 48),
        (0, 3, 4, 8, 12, 22, 24, 28, 48),
        lambda height, width: height == width and height > 0 and not height % 4,
    )
