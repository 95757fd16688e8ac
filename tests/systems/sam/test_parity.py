"""SAM beside transformers at full size and by its own forward; ../test_parity.py has the trials."""

import pytest
import torch

from checkpoints_convert.proof.references.sam import BASE, TINY
from checkpoints_convert.proof.suite import twins
from checkpoints_convert.proof.verify import beside, difference
from tests.systems.sam.small import REFERENCE


@pytest.mark.parity
def test_same_as_transformers_own_forward():
    """The parity test decodes an embedding; here is transformers' whole forward, as a user calls it."""
    case = twins(REFERENCE, TINY)
    theirs, ours, given = case.theirs.double(), case.ours.double(), case.inputs
    image, points = given["image"].double(), given["points"].double()
    with torch.no_grad():
        answer = theirs(pixel_values=image, input_points=points, input_labels=given["labels"])
        masks, iou = ours(image, points, given["labels"])
    assert difference(masks, answer.pred_masks) <= 1e-10 and difference(iou, answer.iou_scores) <= 1e-10


@pytest.mark.parity
@pytest.mark.slow
def test_same_as_transformers_at_full_size(device):
    assert (comparison := beside(REFERENCE, BASE, device=device, batch=1)).ok, f"\n{comparison}"
