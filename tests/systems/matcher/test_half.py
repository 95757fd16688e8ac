"""Matcher whose two networks are in float16 or bfloat16; pictures stay as precise as they come."""

import numpy as np
import pytest
import torch

from checkpoints_convert.proof.verify import redraw_all
from minimodels.dinov2 import DINOv2
from minimodels.matcher import Matcher, fill_empty
from minimodels.sam import SAM
from minimodels.sam_everything import SAMProposer
from tests.systems.halves import HALVES, STEPS
from tests.systems.matcher.test_model import SMALL_SAM, scene

SMALL_DINO = {"image_size": 32, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 32}


def matcher_of(dtype: torch.dtype) -> Matcher:
    """The same weights, rounded to bfloat16 and float16 both, in this format."""
    parts = [redraw_all(DINOv2(**SMALL_DINO)), redraw_all(SAM(**SMALL_SAM))]
    features, sam = (part.half().bfloat16().to(dtype) for part in parts)
    return Matcher(features, SAMProposer(sam), num_centers=0, draws=2, sizes=(1, 2), multimask=True)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("side", [32, 24])
def test_as_in_float64(dtype, side):
    """Trained for 32 pixels. Cosines lie between -1 and 1, so few steps of the format are the bound."""
    (reference, mask), (target, _) = scene(4), scene(16, seed=1)
    given = reference[None, :, :side, :side], mask[None, :side, :side], target[:, :side, :side]
    half = matcher_of(dtype)(*given)
    exact = matcher_of(torch.float64)(*given)
    assert half.matches.similarity.dtype == torch.float32 and exact.matches.similarity.dtype == torch.float64
    off = (half.matches.similarity - exact.matches.similarity).abs().max()
    assert off <= STEPS * torch.finfo(dtype).eps
    assert half.totals.dtype == torch.float32 and half.totals.isfinite().all() and len(half.proposals) > 0
    assert torch.equal(half.marked, exact.marked)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_sam_sees_every_level(dtype):
    """The 256 levels of a picture come back to the proposer whatever the networks' format."""
    levels = torch.arange(32 * 32 * 3).reshape(3, 32, 32) % 256
    model, seen = matcher_of(dtype), []
    real = SAMProposer.encode

    class Watched(SAMProposer):
        def encode(self, picture):
            seen.append(np.array(picture))
            return real(self, picture)

    model.generator = type(model.generator)(Watched(model.generator.proposer.sam))
    model(levels[None].float() / 255, fill_empty(torch.zeros(1, 32, 32)), levels.float() / 255)
    assert np.array_equal(seen[0], levels.permute(1, 2, 0).numpy())
