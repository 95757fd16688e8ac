"""Matcher and the generator with another proposer than SAM: regions of one colour that grow from the clicks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from scipy import ndimage

from minimodels.matcher import Matcher
from minimodels.sam import SAM
from minimodels.sam_everything import Keep, MaskGenerator, Proposer, SAMProposer
from tests.systems.matcher.test_model import SMALL_SAM, Colours, scene

TIGHT, LOOSE = 0.3, 2.0  # how far a colour of a region may lie from that of its clicks


class ColourRegions:
    """The connected pixels around the first click whose colour is near that of all clicks inside.

    It learned nothing, and its masks are half as fine as the picture. A prompt has two meanings, a tight region and a
    loose one; the tight one is trusted more. Pixels near a click outside do not belong to it.
    """

    def __init__(self):
        self.encoded = 0

    def encode(self, picture):
        self.encoded += 1
        levels = np.array(
            picture.convert("RGB").resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
        )
        return torch.from_numpy(levels).double() / 255, (picture.height, picture.width)

    def propose(self, seen, points, labels, boxes, *, multimask):
        limits = torch.tensor([TIGHT, LOOSE] if multimask else [TIGHT])
        logits = torch.stack([self.grow(seen[0], *prompt, limits) for prompt in zip(points, labels)])
        if boxes is not None:
            logits = torch.where(self.inside(boxes, logits), logits, -9.0)
        return logits, (1 - limits / 4).expand(len(points), -1)

    @staticmethod
    def grow(colours, points, labels, limits):
        columns, rows = (points / 2).long().T
        middle = colours[rows, columns][labels == 1].mean(dim=0)
        far = (colours - middle).norm(dim=-1)
        logits = (limits[:, None, None] - far) * 9
        for row, column in zip(rows[labels == 0], columns[labels == 0]):
            logits[:, row, column] = -9.0
        for logit in logits:
            regions, _ = ndimage.label((logit > 0).numpy())
            first = regions[rows[labels == 1][0], columns[labels == 1][0]]
            logit[torch.from_numpy(regions != first)] = -9.0
        return logits

    @staticmethod
    def inside(boxes, logits):
        y, x = (torch.arange(side) * 2 for side in logits.shape[-2:])
        left, top, right, bottom = (side[:, None, None] for side in boxes.T)
        return ((x >= left) & (x <= right) & (y[:, None] >= top) & (y[:, None] <= bottom))[:, None]

    def enlarge(self, seen, logits):
        return F.interpolate(logits[:, None], seen[1], mode="nearest")[:, 0]


def as_picture(pixels):
    return Image.fromarray(rearrange(pixels * 255, "c h w -> h w c").to(torch.uint8).numpy())


@pytest.mark.parametrize("proposer", [SAMProposer(SAM(**SMALL_SAM)), ColourRegions()], ids=["SAM", "colours"])
def test_both_keep_to_what_is_agreed(proposer):
    """Shapes, sizes, scores; prompts by clicks and by clicks with boxes."""
    assert isinstance(proposer, Proposer)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 32, 3), dtype=np.uint8))
    points, labels = torch.rand(5, 3, 2, dtype=torch.float64) * 19, torch.tensor([[1, 1, 0]]).expand(5, -1)
    boxes = torch.tensor([[2.0, 2, 19, 19]], dtype=torch.float64).expand(5, -1)
    with torch.no_grad():
        seen = proposer.encode(picture)
        for multimask in (False, True):
            for box in (None, boxes):
                logits, scores = proposer.propose(seen, points, labels, box, multimask=multimask)
                assert scores.shape == logits.shape[:2] and len(scores) == 5
                assert (scores.shape[1] == 1) == (not multimask)
                assert proposer.enlarge(seen, logits.flatten(0, 1)[:4]).shape == (4, 20, 32)


@pytest.mark.parametrize("numbers", [{}, {"multimask": True, "merge": 1}, {"use_box": True}, {"points_per_side": 4}])
def test_matcher_finds_the_square_with_regions_of_colour(numbers):
    """Each pixel of it, in another place; every setting that reaches the proposer; one picture is encoded once."""
    (reference, marked), (target, wanted) = scene(4), scene(16, seed=1)
    regions = ColourRegions()
    model = Matcher(Colours(), regions, **{"num_centers": 0, "draws": 3, "alpha": 0.8, "beta": 0.2, **numbers})
    found = model(reference[None], marked[None], target)
    assert found.found and found.score > 0.9 and regions.encoded == 1
    if numbers.get("use_box"):  # the box goes around the middles of patches: it cuts off what lies outside of them
        left, top, right, bottom = found.box.tolist()
        wanted = wanted.clone()
        wanted[: top - top % 2], wanted[:, : left - left % 2] = 0, 0
        wanted[bottom + 2 - bottom % 2 :], wanted[:, right + 2 - right % 2 :] = 0, 0
    assert torch.equal(found.mask, wanted > 0)


def test_everything_with_regions_of_colour():
    """The generator knows nothing of SAM either: grid, stability and suppression leave the square, once."""
    picture, wanted = scene(16)
    regions = ColourRegions()
    make = MaskGenerator(regions, points_per_side=8, keep=Keep(multimask=False, iou=0.5, stability=0.5))
    found = make(as_picture(picture))
    assert regions.encoded == 1
    assert sum(np.array_equal(one.mask, wanted.numpy() > 0) for one in found) == 1


def test_its_own_score_rules_out():
    """A mask whose score is not above the least is never enlarged."""
    (reference, marked), (target, _) = scene(4), scene(16, seed=1)
    regions, seen = ColourRegions(), []
    real = regions.enlarge
    regions.enlarge = lambda view, logits: seen.append(len(logits)) or real(view, logits)
    numbers = {"num_centers": 0, "draws": 3, "sizes": (1, 1), "multimask": True}
    for least, share in ((0.0, 1.0), (1 - LOOSE / 4, 0.5), (0.99, 0.0)):
        seen.clear()
        found = Matcher(Colours(), regions, **numbers, iou=least)(reference[None], marked[None], target)
        asked = sum(len(sets) for sets in found.prompts)
        assert sum(seen) == 2 * asked * share
        assert found.found == (share > 0)
