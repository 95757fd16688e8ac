"""The mask generator at equality: each threshold as the released generator has it, on masks made by hand.

Released: predicted IoU above its least (strictly), stability from its least on, logits above the threshold (strictly),
20 pixels from a crop's edge are near it, boxes that overlap by more than the limit are dropped, regions of fewer pixels
than asked are cleaned away. 0 turns a filter off.
"""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from minimodels import sam as file_of_sam
from minimodels import sam_everything as file
from minimodels.sam import SAM, RelativeAttention
from minimodels.sam_everything import Keep, MaskGenerator, View
from tests.systems.sam.small import small


class Told:
    """A proposer that answers any prompt with these logits (M, H, W) and these predicted IoUs."""

    def __init__(self, logits, ious):
        self.logits, self.ious, self.asked = logits, torch.tensor(ious, dtype=torch.float64), []

    def encode(self, picture):
        return picture.size

    def propose(self, seen, points, labels, boxes, *, multimask):
        self.asked.append((points, labels, boxes, multimask))
        return self.logits.expand(len(points), -1, -1, -1), self.ious.expand(len(points), -1)

    def enlarge(self, seen, logits):
        return logits


def squares(*sides: int, size: int = 30, inside: float = 9.0) -> torch.Tensor:
    """Logits of one mask each: a square in the corner of this side."""
    logits = torch.full((len(sides), size, size), -9.0, dtype=torch.float64)
    for logit, side in zip(logits, sides):
        logit[:side, :side] = inside
    return logits


def kept(logits, ious, keep, **numbers) -> list[float]:
    """Areas of the proposals of one point."""
    make = MaskGenerator(Told(logits, ious), nms=1.0, **numbers)
    view = make.look(Image.new("RGB", (30, 30)))
    return [one.area for one in make.propose(view, torch.zeros(1, 1, 2, dtype=torch.float64), keep=keep)]


def test_predicted_iou_must_be_exceeded():
    logits, ious = squares(1, 2, 3, 4), [0.5, 0.25, 0.75, -0.25]
    assert kept(logits, ious, Keep(iou=0.5, stability=0.0)) == [9]
    assert kept(logits, ious, Keep(iou=0.25, stability=0.0)) == [1, 9]
    assert kept(logits, ious, Keep(iou=0.0, stability=0.0)) == [1, 4, 9, 16]  # off: also what expects less than nothing


def test_stability_must_be_reached():
    """A square of 3 x 4 pixels whose last row is unsure: 9 of 12 pixels stay, 0.75."""
    logits = squares(0)
    logits[0, :3, :3], logits[0, 3, :3] = 9.0, 0.5
    assert file.stability(logits).item() == 0.75
    assert kept(logits, [1.0], Keep(stability=0.75)) == [12]
    assert kept(logits, [1.0], Keep(stability=math.nextafter(0.75, 1))) == []
    assert kept(squares(0), [1.0], Keep(stability=0.0)) == [0]  # nothing at all: NaN, kept where stability is off
    assert kept(squares(0), [1.0], Keep(stability=0.01)) == []
    assert file.stability(squares(0)).isnan().all()


@pytest.mark.parametrize("threshold, offset", [(0.0, 1.0), (0.5, 1.0), (0.0, 0.25)])
def test_logits_must_be_above(threshold, offset):
    """Of one pixel each: at the upper limit, above it, at the threshold, above it, at the lower limit, above it."""
    limits = [threshold + offset, threshold, threshold - offset]
    values = [value for limit in limits for value in (limit, math.nextafter(limit, math.inf))]
    logits = torch.full((1, 30, 30), -9.0, dtype=torch.float64)
    logits[0, 0, :6] = torch.tensor(values, dtype=torch.float64)
    assert file.stability(logits, threshold, offset).item() == 1 / 5
    assert kept(logits, [1.0], Keep(stability=0.0, offset=offset), threshold=threshold) == [3]
    assert kept(logits, [1.0], Keep(stability=0.2, offset=offset), threshold=threshold) == [3]
    assert kept(logits, [1.0], Keep(stability=0.21, offset=offset), threshold=threshold) == []


@pytest.mark.parametrize("edge", range(4), ids=["left", "top", "right", "bottom"])
@pytest.mark.parametrize("away, near", [(0, True), (19, True), (20, True), (21, False)])
def test_twenty_pixels_are_near_a_crops_edge(edge, away, near):
    """Released: torch.isclose(boxes, crop, atol=20), which takes 20 itself; an edge of the picture does not count."""
    crop, size = (100, 200, 300, 400), (600, 500)
    box = [50, 50, 150, 150]  # in the crop's own pixels, far from all of its edges
    box[edge] = away if edge < 2 else 200 - away
    assert file.near_crop_edge(torch.tensor([box]), crop, size).tolist() == [near]
    whole = (0, 0, 500, 600)
    box = [100, 100, 300, 300]
    box[edge] = away if edge < 2 else (500, 600)[edge - 2] - away
    assert file.near_crop_edge(torch.tensor([box]), whole, (600, 500)).tolist() == [False]


@pytest.mark.parametrize("from_picture, near", [(19, False), (20, False), (21, True)])
def test_the_pictures_edge_is_near_at_twenty_too(from_picture, near):
    """A crop that begins 10 pixels inside the picture: its edge counts where the picture's own is further than 20."""
    box = torch.tensor([[from_picture - 10, 100, 200, 200]])
    assert file.near_crop_edge(box, (10, 0, 400, 600), (600, 800)).tolist() == [near]


@pytest.mark.parametrize("share", range(1, 10))
def test_suppression_at_equality_is_torchvisions(share):
    """Boxes of 10 x 10 and of 10 x `share` inside it: their overlap is share / 10, as float32 rounds it."""
    from torchvision.ops import nms

    boxes, scores = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, share]]), torch.tensor([0.9, 0.8])
    exact = share / 10
    for limit in (exact, math.nextafter(exact, 0), math.nextafter(exact, 1), float(torch.tensor(exact))):
        expected = nms(boxes, scores, limit).tolist()
        assert file.suppress(boxes, scores, limit) == expected, limit
        assert file.suppress(boxes.long(), scores.double(), limit) == expected


def test_suppression_is_torchvisions():
    """Many boxes of whole pixels, equal scores and boxes without a side among them."""
    from torchvision.ops import nms

    dice = torch.Generator().manual_seed(0)
    for number in range(20):
        corners = torch.randint(0, 12, (60, 2, 2), generator=dice)
        boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
        scores = torch.randperm(60, generator=dice) / 60
        limit = (0.0, 0.25, 0.3, 0.5, 0.7, 1.0)[number % 6]
        assert file.suppress(boxes, scores, limit) == nms(boxes.float(), scores, limit).tolist()


@pytest.mark.parametrize("pixels, cleaned", [(4, True), (5, False), (6, False)])
def test_regions_of_exactly_so_many_pixels_stay(pixels, cleaned):
    """Fewer than 5 are small, for holes and islands alike."""
    block = np.zeros((12, 12), dtype=bool)
    block[1:7, 1:11] = True
    hole, island = block.copy(), block.copy()
    hole[3, 2 : 2 + pixels], island[9, 2 : 2 + pixels] = False, True
    filled, changed = file.clean(hole, 5, holes=True)
    assert changed == cleaned and np.array_equal(filled, block if cleaned else hole)
    left, changed = file.clean(island, 5, holes=False)
    assert changed == cleaned and np.array_equal(left, block if cleaned else island)


def test_islands_of_exactly_so_many_pixels_all_stay():
    mask = np.zeros((6, 9), dtype=bool)
    mask[0, 0:3], mask[2, 4:7], mask[5, 8] = True, True, True
    expected = mask.copy()
    expected[5, 8] = False
    left, changed = file.clean(mask, 3, holes=False)
    assert changed and np.array_equal(left, expected)


def test_where_all_islands_are_small_the_largest_stays():
    mask = np.zeros((6, 9), dtype=bool)
    mask[0, 0], mask[2, 2:5], mask[5, 7:9] = True, True, True
    expected = np.zeros_like(mask)
    expected[2, 2:5] = True
    left, changed = file.clean(mask, 4, holes=False)
    assert changed and np.array_equal(left, expected)
    left, _ = file.clean(mask, 3, holes=False)
    assert np.array_equal(left, expected)


@pytest.mark.parametrize("nms, crop_nms, left", [(0.9, 0.1, 2), (0.1, 0.9, 2), (0.1, 0.1, 1), (0.9, 0.9, 2)])
def test_tidying_takes_the_wider_of_both_limits(nms, crop_nms, left):
    """Released: max(box_nms_thresh, crop_nms_thresh). Two boxes whose overlap is 0.64."""
    make = MaskGenerator(Told(squares(11, 9), [0.9, 0.8]), nms=nms, crop_nms=crop_nms, min_region=2)
    view, keep = View(None, (0, 0, 30, 30), (30, 30)), Keep(stability=0.0, iou=0.0)
    found = make.propose(view, torch.zeros(1, 1, 2, dtype=torch.float64), keep=keep)
    assert len(found) == 2 and len(make.tidy(found)) == left


@pytest.mark.parametrize("pixel, value", [(20, 9.0), (5, -9.0)], ids=["an island", "a hole"])
def test_masks_that_needed_cleaning_go_behind(pixel, value):
    """They lose against a clean one that they overlap, whatever was predicted of them."""
    logits = squares(10, 10)
    logits[0, pixel, pixel] = value
    make = MaskGenerator(Told(logits, [0.9, 0.8]), nms=0.7, min_region=2)
    view, keep = View(None, (0, 0, 30, 30), (30, 30)), Keep(stability=0.0, iou=0.0)
    proposals = make.propose(view, torch.zeros(1, 1, 2, dtype=torch.float64), keep=keep)
    assert np.array_equal(make.tidy(proposals[:1])[0].mask, proposals[1].mask)  # cleaned, where it is alone
    found = make.tidy(proposals)
    assert [one.predicted_iou for one in found] == [0.8] and found[0].box == (0, 0, 9, 9)


@pytest.mark.parametrize("prompts, at_once, calls", [(8, 8, [8]), (9, 8, [8, 1]), (7, 8, [7]), (5, 2, [2, 2, 1])])
def test_prompts_at_once(prompts, at_once, calls):
    """The last batch has what is left; boxes go with their points."""
    told = Told(squares(5), [1.0])
    make = MaskGenerator(told, points_per_batch=at_once)
    points = torch.rand(prompts, 1, 2, dtype=torch.float64)
    boxes = torch.rand(prompts, 4, dtype=torch.float64)
    view = make.look(Image.new("RGB", (30, 30)))
    assert len(make.propose(view, points, boxes, keep=Keep(stability=0.0))) == prompts
    assert [len(asked[0]) for asked in told.asked] == calls
    assert torch.equal(torch.cat([asked[0] for asked in told.asked]), points)
    assert torch.equal(torch.cat([asked[2] for asked in told.asked]), boxes)
    assert all(asked[3] and bool((asked[1] == 1).all()) for asked in told.asked)


class White:
    """A proposer whose one mask is what is white in the picture or crop."""

    def encode(self, picture):
        return torch.from_numpy(np.array(picture.convert("L")) > 127).double() * 18 - 9

    def propose(self, seen, points, labels, boxes, *, multimask):
        return seen.expand(len(points), 1, -1, -1), torch.full((len(points), 1), 0.9, dtype=torch.float64)

    def enlarge(self, seen, logits):
        return logits


def test_of_two_like_masks_the_one_from_the_smaller_crop_stays():
    """Released: over all crops by falling 1 / area. The square lies in the first of four crops, and in the whole."""
    pixels = np.zeros((200, 200), dtype=np.uint8)
    pixels[80:110, 80:110] = 255
    found = MaskGenerator(White(), points_per_side=1, crop_layers=1)(Image.fromarray(pixels))
    assert [one.crop for one in found] == [(0, 0, 134, 134)]
    assert found[0].box == (80, 80, 109, 109) and np.array_equal(found[0].mask, pixels > 0)
    both = MaskGenerator(White(), points_per_side=1, crop_layers=1, crop_nms=1.0)(Image.fromarray(pixels))
    assert [one.crop for one in both] == [(0, 0, 134, 134), (0, 0, 200, 200)]


def test_places_are_told_exactly(monkeypatch):
    """In float64 whatever SAM is in: a click of a large picture keeps its place."""
    seen, real = [], SAM.decode
    monkeypatch.setattr(SAM, "decode", lambda model, *given, **how: seen.append(given) or real(model, *given, **how))
    proposer = file.SAMProposer(small().float())
    picture = proposer.encode(Image.new("RGB", (30, 30)))
    point = torch.tensor([[[1 / 3, 29.7]]], dtype=torch.float64)
    box = torch.tensor([[1 / 3, 2 / 3, 20.1, 29.7]], dtype=torch.float64)
    proposer.propose(picture, point, torch.ones(1, 1, dtype=torch.long), box, multimask=True)
    _, points, _, boxes = seen[0]
    assert points.dtype == boxes.dtype == torch.float64
    assert torch.allclose(points[0], point * 40 / 30, rtol=1e-15, atol=0)


def test_layers_and_one_mask():
    logits, ious = squares(1, 2, 3), [0.9, 0.95, 0.99]
    assert kept(logits, ious, Keep(stability=0.0, layers=(2, 0))) == [9, 1]
    assert kept(logits, ious, Keep(stability=0.0)) == [1, 4, 9]


# ---------------------------------------------------------------- heads at a time


@pytest.mark.parametrize("heads, at_once", [(3, 2), (5, 2), (5, 3), (4, 4), (3, 1), (3, 7)])
def test_heads_that_the_steps_do_not_divide(heads, at_once, monkeypatch):
    """As many heads a step as keep their scores, of all pictures and windows, below the limit; none is left out."""
    attention = RelativeAttention(6 * heads, heads, 4, None).double()
    torch.nn.init.normal_(attention.rel_h)
    x = torch.randn(2, 4, 4, 6 * heads, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    together, steps, bias = attention(x), [], file_of_sam.relative_bias

    def watched(q, *rest):
        steps.append(q.shape[1])
        return bias(q, *rest)

    monkeypatch.setattr(file_of_sam, "relative_bias", watched)
    monkeypatch.setattr(file_of_sam, "SCORES_AT_ONCE", at_once * 2 * 16**2)
    assert (attention(x) - together).abs().max() <= 1e-14
    full, rest = divmod(heads, at_once)
    assert steps == [at_once] * full + [rest] * bool(rest)
    steps.clear()
    monkeypatch.setattr(file_of_sam, "SCORES_AT_ONCE", at_once * 2 * 16**2 + 2 * 16**2 - 1)  # not one head more
    attention(x)
    assert steps == [at_once] * full + [rest] * bool(rest)
