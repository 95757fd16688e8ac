"""Retrieval recall against a plain sort, mask measures against plain loops, and what they refuse."""

import numpy as np
import pytest
import torch
from scipy import integrate

from minimodels.errors import UserError
from minimodels.metrics.masks import (
    THRESHOLDS,
    average_precision,
    binary_iou,
    foreground_iou,
    mask_counts,
    mean_class_iou,
    referring_scores,
)
from minimodels.metrics.retrieval import recall_at, retrieval_ranks


def ranks_by_sorting(scores, relevant):
    """The place of the best right item in a sorted list, wrong items first among equals; one query at a time."""
    ranks = []
    for row, right in zip(scores.tolist(), relevant.tolist()):
        order = sorted(range(len(row)), key=lambda item: (-row[item], right[item]))
        ranks.append(next(place for place, item in enumerate(order) if right[item]))
    return ranks


@pytest.mark.parametrize("queries, items, levels", [(7, 5, 1000), (40, 30, 4), (1, 1, 2), (30, 9, 1)])
def test_ranks_match_sorting(queries, items, levels):
    scores = torch.randint(levels, (queries, items)).float()  # few levels: many ties
    relevant = torch.rand(queries, items) < 0.3
    relevant[torch.arange(queries), torch.randint(items, (queries,))] = True
    expected = ranks_by_sorting(scores, relevant)
    assert retrieval_ranks(scores, relevant).tolist() == expected
    for k in (1, 2, items, items + 5):
        share = sum(rank < k for rank in expected) / queries
        assert recall_at(scores, relevant, k) == pytest.approx(share, abs=1e-6)


def test_a_model_that_gives_every_item_the_same_score_has_no_hit():
    own = torch.eye(6, dtype=torch.bool)
    assert recall_at(torch.zeros(6, 6), own, 1) == 0
    assert recall_at(torch.zeros(6, 6), own, 6) == 1


def test_minus_infinity_is_a_score():
    scores = torch.tensor([[-float("inf"), 1.0]])
    assert retrieval_ranks(scores, torch.tensor([[True, False]])).tolist() == [1]


def test_what_it_refuses():
    scores, own = torch.randn(3, 3), torch.eye(3, dtype=torch.bool)
    with pytest.raises(UserError, match="k is 0"):
        recall_at(scores, own, 0)
    nothing = own.clone()
    nothing[1] = False
    with pytest.raises(UserError, match="query 1"):
        recall_at(scores, nothing, 1)
    with pytest.raises(UserError, match="NaN"):
        recall_at(scores * float("nan"), own, 1)


# ---------------------------------------------------------------- masks


def counts_one_by_one(probabilities, truth, threshold):
    """tp, fp, fn, tn of one mask, pixel by pixel."""
    cells = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for share, wanted in zip(probabilities.flatten().tolist(), truth.flatten().tolist()):
        cells[share > threshold, bool(wanted)] += 1
    return cells[True, True], cells[True, False], cells[False, True], cells[False, False]


@pytest.fixture
def masks():
    """Five masks of 6 x 7 pixels, two classes, probabilities that know something."""
    torch.manual_seed(3)
    truth = torch.rand(5, 6, 7) < 0.4
    return (0.6 * torch.rand(5, 6, 7).double() + 0.4 * truth * torch.rand(5, 6, 7)), truth


def test_counts_are_those_of_a_plain_loop(masks):
    counts = mask_counts(*masks)
    assert THRESHOLDS.shape == (49,) and THRESHOLDS[0] == 0.02 and THRESHOLDS[-1] == 0.98 and THRESHOLDS[24] == 0.5
    for number in range(5):
        for place in (0, 7, 24, 48):
            expected = counts_one_by_one(masks[0][number], masks[1][number], float(THRESHOLDS[place]))
            assert tuple(int(part[number, place]) for part in counts) == expected


def test_iou_family_by_hand():
    truth = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 1]]])
    found = torch.tensor([[[0.9, 0.1, 0.9, 0.1]], [[0.9, 0.9, 0.9, 0.1]], [[0.1, 0.1, 0.1, 0.9]]])
    half = torch.tensor([0.5])
    counts = mask_counts(found, truth, half)  # tp 1 1 1, fp 1 2 0, fn 1 0 0, tn 1 1 3
    assert foreground_iou(counts).item() == pytest.approx(3 / (1 + 3 + 3 + 1))
    assert binary_iou(counts).item() == pytest.approx((3 / 8 + 5 / (1 + 5 + 3 + 1)) / 2)
    of_class = [2 / (1 + 2 + 3 + 1), 1 / (1 + 1)]
    assert mean_class_iou(counts, torch.tensor([7, 7, 3])).item() == pytest.approx(sum(of_class) / 2)


def test_average_precision_is_simpsons_rule_over_the_distinct_pairs(masks):
    """The released definition in other words: loops over thresholds, numpy, scipy's rule."""
    pairs = set()
    for threshold in np.linspace(0, 1, 51)[1:-1]:
        tp, fp, fn = np.sum([counts_one_by_one(p, t, threshold)[:3] for p, t in zip(*masks)], axis=0)
        if tp + fp:
            pairs.add((tp / (1 + tp + fn), tp / (1 + tp + fp)))
    recall, precision = np.array(sorted(pairs, key=lambda pair: pair[0])).T
    expected = integrate.simpson(precision, x=recall)
    assert average_precision(mask_counts(*masks)) == pytest.approx(expected, abs=1e-9)


def test_masks_that_cannot_be_counted(masks):
    with pytest.raises(UserError, match="sizes must agree"):
        mask_counts(masks[0], masks[1][:, :3])
    with pytest.raises(UserError, match="NaN"):
        mask_counts(masks[0] * float("nan"), masks[1])
    with pytest.raises(UserError, match="no pixel"):
        average_precision(mask_counts(masks[0] * 0, masks[1]))


def test_referring_scores_by_hand():
    """IoUs 1, 3/4, 1/2, 0 (nothing found) and 0 (nothing meant, nothing found)."""
    truth = torch.tensor([[[1, 1, 0, 0]], [[1, 1, 1, 1]], [[1, 0, 0, 0]], [[1, 1, 1, 0]], [[0, 0, 0, 0]]]).bool()
    found = torch.tensor([[[1, 1, 0, 0]], [[1, 1, 1, 0]], [[1, 1, 0, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]]).bool()
    scores = referring_scores(found, truth)
    assert scores.overall_iou == pytest.approx((2 + 3 + 1 + 0 + 0) / (2 + 4 + 2 + 3 + 0))
    assert scores.mean_iou == pytest.approx((1 + 0.75 + 0.5) / 5)
    assert scores.precision == {0.5: 0.6, 0.6: 0.4, 0.7: 0.4, 0.8: 0.2, 0.9: 0.2}  # 0.5 itself counts for P@0.5
    assert referring_scores(found[-1:], truth[-1:]).mean_iou == 0  # rightly empty, and still 0
    for part, other in ((found, truth[:2]), (found[:0], truth[:0])):
        with pytest.raises(UserError, match="sizes must agree, and not be 0"):
            referring_scores(part, other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_probability_equal_to_the_threshold_is_not_above_it(dtype):
    """Strictly, at each of the 49 thresholds and in each precision; the next number is above."""
    for place, threshold in enumerate(THRESHOLDS):
        equal = threshold.to(dtype).reshape(1, 1, 1)
        above = torch.nextafter(equal, equal.new_ones(()))
        counts = mask_counts(torch.cat([equal, above], dim=2), torch.ones(1, 1, 2))
        assert counts.tp[0, place] == 1 and counts.fn[0, place] == 1
        assert counts.iou()[0, place] == 1 / 3
        assert foreground_iou(counts)[place] == 1 / 3


def test_one_probability_that_is_nan(masks):
    """Wherever it stands, with all others right."""
    for place in ((0, 0, 0), (4, 5, 6), (2, 3, 1)):
        probabilities = masks[0].clone()
        probabilities[place] = float("nan")
        with pytest.raises(UserError, match="some probabilities are NaN"):
            mask_counts(probabilities, masks[1])
    probabilities = masks[0].clone()
    probabilities[0, 0, 0], probabilities[1, 0, 0] = float("inf"), -float("inf")  # on a side of every threshold
    counts = mask_counts(probabilities, torch.ones_like(masks[1]))
    assert counts.tp.shape == (5, 49)


def test_one_score_that_is_nan():
    own = torch.eye(3, dtype=torch.bool)
    for place in ((0, 0), (2, 1)):
        scores = torch.randn(3, 3)
        scores[place] = float("nan")
        with pytest.raises(UserError, match="some scores are NaN"):
            retrieval_ranks(scores, own)


def test_an_iou_equal_to_the_level_counts():
    """P@X of an IoU of X or more (Yang et al. 2022, section 4.3): 1/2 and, with nine of ten, 9/10."""
    truth = torch.ones(2, 1, 10, dtype=torch.bool)
    found = truth.clone()
    found[0, 0, 5:], found[1, 0, 9:] = False, False
    scores = referring_scores(found, truth)
    assert scores.precision == {0.5: 1.0, 0.6: 0.5, 0.7: 0.5, 0.8: 0.5, 0.9: 0.5}
