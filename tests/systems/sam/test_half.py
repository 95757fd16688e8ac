"""SAM as a proposer, and the mask generator, in float16 and bfloat16."""

import numpy as np
import pytest
import torch
from PIL import Image

from minimodels.sam_everything import Keep, MaskGenerator, SAMProposer, stability
from tests.systems.halves import HALVES, assert_close_in_half
from tests.systems.sam.small import small

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 47, 3), dtype=np.uint8))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_proposals(dtype):
    """Pixels, places and boxes come in their own precision; what comes out has the model's."""
    points = torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 29
    boxes = torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=-1)

    def run(model):
        proposer = SAMProposer(model)
        seen = proposer.encode(PICTURE)
        labels = torch.tensor([[1, 0]]).expand(5, -1)
        by_points, iou = proposer.propose(seen, points, labels, None, multimask=True)
        by_box, _ = proposer.propose(seen, points, labels, boxes, multimask=False)
        masks = proposer.enlarge(seen, by_points.flatten(0, 1))
        return {"points": by_points, "iou": iou, "box": by_box, "masks": masks}

    assert_close_in_half(small(), run, {}, dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_generator_runs(dtype):
    """All its prompts become proposals, with finite numbers; their order is that of the predicted IoUs."""
    make = MaskGenerator(SAMProposer(small().to(dtype)), points_per_side=3, keep=Keep(iou=0.0, stability=0.0), nms=1.0)
    found = make(PICTURE)
    assert len(found) == 27 and all(one.mask.shape == (30, 47) for one in found)
    ious = [one.predicted_iou for one in found]
    assert ious == sorted(ious, reverse=True) and all(np.isfinite(ious))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_large_masks_keep_their_stability(dtype):
    """Half precision has no 65505 and bfloat16 no 257: pixels are counted in float32, so a large mask is not lost."""
    logits = torch.linspace(-4, 12, 300 * 300).reshape(1, 300, 300).to(dtype)
    counted = (logits[0] > 1).sum().item(), (logits[0] > -1).sum().item()
    steady = stability(logits)
    assert counted[1] > 65504 and steady.dtype == torch.float32
    assert steady.item() == pytest.approx(counted[0] / counted[1], rel=1e-6)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_places_are_rounded_once(dtype):
    """Sines and cosines of angles of several turns: half a step of the format off, and float32's rounding."""
    model = small().to(dtype)
    exact = small().to(dtype).double()
    places = torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, expected = (each.prompt_encoder.encode_positions(places) for each in (model, exact))
    assert found.dtype == dtype and ((found - expected).abs() <= torch.finfo(dtype).eps / 2 + 1e-5).all()
    grid, expected = (each.prompt_encoder.encode_grid() for each in (model, exact))
    assert grid.dtype == dtype and ((grid - expected).abs() <= torch.finfo(dtype).eps / 2 + 1e-5).all()
