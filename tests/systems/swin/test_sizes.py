"""Swin's segmentation flavour on pictures of any height and width: the maps that transformers' SwinBackbone gives."""

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, tiny, twins
from minimodels.errors import UserError
from minimodels.swin import fitted_windows
from tests.systems.sizes import assert_right_or_refused
from tests.systems.swin.small import backbone, pictures


@pytest.mark.parity
@pytest.mark.parametrize("window", [3, 4])
def test_backbone_as_transformers(window):
    """Below, at and above the window, on either axis, odd and even; every map."""
    reference = reference_named("Swin backbone", "transformers")
    pair = twins(reference, tiny(reference, window_size=window))
    ours, theirs = pair.ours.double(), pair.theirs.double()

    def flat(maps):
        return torch.cat([maps[name].flatten() for name in sorted(maps)])

    sizes = (1, 5, 8, 12, 16, 19, 24, 33)
    assert_right_or_refused(
        lambda image: flat(reference.run(ours, image)),
        lambda image: flat(reference.run_reference(theirs, image)),
        sizes,
        sizes,
        lambda height, width: True,
    )


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (0, 0)])
def test_a_picture_without_pixels(size):
    with pytest.raises(UserError, match=f"{size[0]} x {size[1]} pixels cannot be cut into patches"):
        backbone()(pictures(1, *size))


def test_windows_fit_the_shorter_side():
    """Each stage's map is half as large, rounded up; a window is never wider than its shorter side."""
    assert fitted_windows((24, 64), 2, 4, 7) == [7, 6, 3, 2]
    assert fitted_windows((64, 24), 2, 4, 7) == [7, 6, 3, 2]
    assert fitted_windows((28, 28), 2, 3, 7) == [7, 7, 4]
