"""Pairs of scenes, ways to match them, and the report that lesson 5.3 shows."""

import pytest
import torch

from lessons.stickers.questions import one_shot_pair
from lessons.stickers.splits import VAL
from lessons.train.matcher import data as matching
from lessons.train.matcher import report
from minimodels import matcher
from minimodels.stored import embedded


def test_a_pair_is_two_scenes_with_one_class():
    pair = matching.make_pair(3, VAL)
    (scene, chosen), (other_scene, other) = one_shot_pair(3, VAL)
    assert scene.stickers[chosen].kind == other_scene.stickers[other].kind and scene.stickers[chosen].name == pair.name
    assert pair.reference.shape == pair.target.shape == (3, 128, 128) and pair.mask.shape == (128, 128)
    assert float(pair.reference.min()) >= 0 and float(pair.reference.max()) <= 1
    assert pair.mask.any() and pair.right.any() and not (pair.right & pair.others).any()


def test_the_four_ways_on_a_small_table():
    """Two marked rows, three columns: both like column 0, whose favourite is row 0; row 2 is not marked."""
    similarity = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.2, 0.3], [0.0, 0.7, 0.6]])
    found = matching.ways(similarity, torch.tensor([True, True, False]))
    assert found["nearest"].tolist() == [0, 0] and found["mutual"].tolist() == [0]
    assert found["assigned"].tolist() == [0, 2]
    assert found["assigned, and back"].tolist() == [0]  # column 2 fits row 2 better


def test_painting_and_overlap():
    mask = report.paint(torch.tensor([0, 3]), 2, 4)
    assert mask.shape == (8, 8) and mask[:4, :4].all() and mask[4:, 4:].all() and mask.sum() == 32
    assert report.mask_iou(mask, mask) == 1 and report.mask_iou(mask, ~mask) == 0
    assert report.mask_iou(mask & ~mask, mask & ~mask) == 0


def test_middles_are_where_clicks_land():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:8, 8:] = True
    points = matcher.patch_points(torch.arange(4), 2, 8)
    assert matching.middles(mask, 8).tolist() == [bool(mask[y, x]) for x, y in points.tolist()]


@pytest.mark.parametrize("hard", [False, True])
def test_an_absent_target_does_not_show_the_class(hard):
    for number in range(3):
        (scene, chosen), _ = one_shot_pair(number, VAL, hard)
        kind, other = scene.stickers[chosen].kind, number + 1
        target = report.absent_target(number, VAL, hard)
        while not torch.equal(matching.make_pair(other, VAL, hard).target, target):
            other += 1
        assert kind not in [sticker.kind for sticker in one_shot_pair(other, VAL, hard)[1][0].stickers]


def test_the_figures_belong_to_the_weights():
    figures = embedded.figures("tiny-matcher")
    again = "python -m lessons.train matcher --evaluate --pairs 60 --out minimodels/weights/tiny-matcher"
    assert figures["weights"] == report.weights(), f"run {again}"
    for kind in ("easy", "hard"):
        assert set(figures[kind]["iou"]) == set(report.STAGES) and figures[kind]["pairs"] >= 30


@pytest.mark.skipif("tiny-sam" not in embedded.names(), reason="there are no weights of tiny SAM")
def test_a_pair_is_found_and_its_absence_noticed():
    from minimodels.stored import tiny_matcher

    model = tiny_matcher.load()
    pair = matching.make_pair(20, VAL)
    found = model(pair.reference[None], pair.mask[None], pair.reference)
    assert found.found and report.mask_iou(found.mask, pair.mask > 0) > 0.6
    ious = report.stages(model, pair, model(pair.reference[None], pair.mask[None], pair.target))
    assert set(ious) == set(report.STAGES) and ious["best proposal"] >= ious["sampled, EMD"]
