"""Matcher's rules at equality, by hand; the released code says on which side each one falls."""

import math
import random

import pytest
import torch
from scipy.special import comb

from minimodels import matcher
from minimodels.errors import UserError
from tests.systems.matcher.test_model import scene, with_proposals


@pytest.mark.parametrize("pairs, left", [(39, 39), (40, 40), (41, 20), (42, 21), (43, 21)])
def test_more_than_forty_pairs_are_halved(pairs, left):
    """The better half, rounded down; 40 themselves all stay."""
    strength = torch.linspace(0.5, 1, pairs, dtype=torch.float64)
    found = matcher.match_patches(torch.diag(strength), torch.ones(pairs, dtype=torch.bool))
    assert set(found.patches.tolist()) == set(range(pairs - left, pairs))


@pytest.mark.parametrize("threshold, marked", [(0.25, [False, True]), (math.nextafter(0.25, 0), [True, True])])
def test_a_patch_is_marked_above_the_threshold(threshold, marked):
    """One of four pixels, and two of four."""
    mask = torch.tensor([[[1.0, 0, 1, 1], [0, 0, 0, 0]]], dtype=torch.float64)
    assert matcher.mark_patches(mask, 2, threshold).tolist() == [marked]


def test_without_a_threshold_one_pixel_is_enough_and_none_is_not():
    mask = torch.zeros(1, 2, 4)
    mask[0, 1, 3] = 1e-6
    assert matcher.mark_patches(mask, 2).tolist() == [[False, True]]


def test_the_least_score_is_reached_at_itself():
    (reference, marked), (target, wanted) = scene(4), scene(16, seed=1)
    given = reference[None], marked[None], target
    score = with_proposals(wanted)(*given).score
    assert with_proposals(wanted, least_score=score)(*given).found
    above = with_proposals(wanted, least_score=math.nextafter(score, 1))(*given)
    assert not above.found and above.mask.any()  # what it would have guessed


def test_filters_keep_what_reaches_them():
    """Equal to the value asked, and equal to the best where none reaches it."""
    scores = torch.tensor([0.5, 0.25, 0.5, 0.125])
    same = matcher.Scores(scores, scores, scores)
    assert matcher.filter_masks(same, coverage=0.25, emd=0.0, purity=0.0).tolist() == [0, 1, 2]
    assert matcher.filter_masks(same, coverage=0.0, emd=0.5, purity=0.0).tolist() == [0, 2]
    assert matcher.filter_masks(same, coverage=0.0, emd=0.0, purity=0.75).tolist() == [0, 2]
    just_above = math.nextafter(0.25, 1)
    assert matcher.filter_masks(
        matcher.Scores(*(scores.double(),) * 3), coverage=just_above, emd=0.0, purity=0.0
    ).tolist() == [0, 2]


def test_distances_near_the_smallest_are_strictly_near():
    """(far - smallest) / (largest + 1e-6) below the limit; equal to it is too far."""
    totals = torch.tensor([0.875, 0.75, 0.5], dtype=torch.float64)
    far = 1 - totals
    ratio = float((far[1] - far[0]) / (far[2] + 1e-6))
    assert matcher.choose_close(totals, 5, 1.0, ratio).tolist() == [0]
    assert matcher.choose_close(totals, 5, 1.0, math.nextafter(ratio, 1)).tolist() == [0, 1]
    assert matcher.choose_close(totals, 5, 1.0, 1.0).tolist() == [0, 1, 2]
    assert matcher.choose_close(torch.ones(3), 5, 0.33, 0.1).tolist() == [0, 1, 2]  # all distances 0: 1e-6 divides


def test_a_score_below_the_largest_distance():
    """`most` is strict; the best stays whatever its distance."""
    totals = torch.tensor([0.5, 0.75], dtype=torch.float64)
    assert matcher.choose_close(totals, 5, 0.5, 9.0).tolist() == [1]
    assert matcher.choose_close(totals, 5, math.nextafter(0.5, 1), 9.0).tolist() == [1, 0]
    assert matcher.choose_close(totals, 5, 0.25, 9.0).tolist() == [1]


def test_shares_of_the_best_are_strict_and_the_best_stays():
    totals = torch.tensor([0.25, 1.0, 0.5], dtype=torch.float64)
    assert matcher.choose_best(totals, 3, math.nextafter(0.5, 0)).tolist() == [1, 2]
    assert matcher.choose_best(totals, 3, 0.5).tolist() == [1]
    assert matcher.choose_best(totals, 3, 1.0).tolist() == [1]
    assert matcher.choose_best(totals, 3, 0.0).tolist() == [1, 2, 0]
    assert matcher.choose_best(torch.tensor([0.0, -1.0]), 3, 0.0).tolist() == []  # not above 0
    assert matcher.choose_best(torch.tensor([0.0, -1.0]), 3, 0.7).tolist() == [0]


@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_up_to_eight_points_every_set_is_asked(count):
    points = torch.arange(2 * count).reshape(count, 2)
    sets = matcher.prompt_sets(points, (1, 3), 5, random.Random(0))
    sizes = range(1, min(3, count) + 1)
    assert [tuple(each.shape) for each in sets] == [
        (int(comb(count, size)) if count <= 8 else 5, size, 2) for size in sizes
    ]


@pytest.mark.parametrize("sizes, shapes", [((4, 6), [3]), ((3, 6), [3]), ((2, 6), [2, 3]), ((1, 1), [1])])
def test_sets_are_no_larger_than_there_are_points(sizes, shapes):
    """From min(smallest, points) to min(largest, points)."""
    found = matcher.prompt_sets(torch.zeros(3, 2, dtype=torch.long), sizes, 5, random.Random(0))
    assert [each.shape[1] for each in found] == shapes


def test_points_on_a_centre_keep_a_chance():
    """Released: (distance + 1e-6) squared; without it points that coincide would leave nothing to draw from."""
    same = torch.ones(3, 2)
    assert torch.allclose(matcher.center_chances(same, same[:1]), torch.full((3,), 1 / 3))
    points = torch.tensor([[0.0, 0], [3, 4]], dtype=torch.float64)
    near, far = 1e-6**2, (5 + 1e-6) ** 2
    assert torch.allclose(
        matcher.center_chances(points, points[:1]),
        torch.tensor([near, far], dtype=torch.float64) / (near + far),
        rtol=1e-12,
        atol=0,
    )


def test_as_many_clusters_as_points_at_most():
    points = torch.tensor([[1, 1], [9, 9], [1, 9]])
    centres = matcher.cluster_points(points, 8, torch.Generator().manual_seed(0))
    assert sorted(centres.tolist()) == sorted(points.tolist())


def test_an_empty_proposal_touches_every_patch():
    """And a mask of one pixel one."""
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[1, 3, 5] = True
    touched = matcher.mask_patches(masks, 2)
    assert touched[0].all() and touched[1].tolist() == [False] * 5 + [True]


def test_a_square_of_fourteen_pixels_in_the_middle():
    """Rows and columns of their own; odd sides leave the larger part behind it."""
    filled = matcher.fill_empty(torch.zeros(2, 20, 31))
    rows, columns = (torch.where(filled[1].any(dim=axis))[0].tolist() for axis in (1, 0))
    assert rows == list(range(3, 17)) and columns == list(range(8, 22))
    one = torch.zeros(2, 20, 31)
    one[1, 0, 0] = 1e-3
    assert matcher.fill_empty(one) is one


def test_sides_that_are_no_multiple_of_a_patch():
    """One patch is enough; each axis is looked at."""
    matcher.check_sizes(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), torch.zeros(3, 4, 4), 4)
    for shape in ((4, 8), (8, 4), (6, 6)):
        with pytest.raises(UserError, match=f"{shape[0]} x {shape[1]}"):
            matcher.check_sizes(torch.zeros(1, 3, *shape), torch.zeros(1, *shape), torch.zeros(3, *shape), 4)
    for reference, masks in (((8, 4), (4, 4)), ((4, 8), (4, 4)), ((4, 4), (4, 8)), ((4, 4), (8, 4))):
        with pytest.raises(UserError, match="one size|of its size"):
            matcher.check_sizes(torch.zeros(1, 3, *reference), torch.zeros(1, *masks), torch.zeros(3, 4, 4), 4)
