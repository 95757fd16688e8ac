"""Boxes to patches and foveas: exact borders against loops, every grid, and boxes that are none."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from minimodels.errors import UserError
from minimodels.falip import fovea, foveal_masks, on_one_head, patches_of

GRIDS = ((64, 8), (224, 16), (224, 14), (224, 32), (28, 7), (12, 12))
BAD = {
    "left of it": (-1, 0, 5, 5),
    "below it": (0, 0, 5, 41),
    "of zero width": (5, 0, 5, 5),
    "of zero height": (0, 7, 5, 7),
    "reversed": (9, 9, 2, 2),
    "NaN": (0, 0, math.nan, 5),
    "infinite": (0, 0, math.inf, 5),
    "three numbers": (0, 0, 5),
    "five numbers": (0, 0, 5, 5, 5),
    "nothing": (),
}


def span(near, far, size, patch):
    """Patches of one side, found by looking through all of them; whole numbers, so that no border is rounded."""

    def at(corner):
        return next(n for n in range(size // patch) if corner <= (n + 1) * patch)

    return slice(at(near), at(far) + 1)


@pytest.mark.parametrize("size, patch", GRIDS)
def test_borders_of_patches(size, patch):
    """Every pair of corners on, before and behind a border, in a picture of the model's own size."""
    corners = sorted({c for n in range(size // patch + 1) for c in (n * patch - 1, n * patch, n * patch + 1)})
    corners = [c for c in corners if 0 <= c <= size]
    for (left, right), (top, bottom) in product(pairwise(corners), [(0, size), *pairwise(corners[:7])]):
        rows, columns = patches_of((left, top, right, bottom), (size, size), size, patch)
        assert (rows, columns) == (span(top, bottom, size, patch), span(left, right, size, patch))


@pytest.mark.parametrize("size, patch", GRIDS)
def test_squashed_pictures(size, patch):
    """Other widths and heights, each side scaled on its own: float64 in the order of the released code."""
    dice = np.random.default_rng(0)
    for _ in range(300):
        height, width = dice.integers(1, 900, 2).tolist()
        left, right = sorted(dice.choice(np.linspace(0, width, 64), 2, replace=False).tolist())
        top, bottom = sorted(dice.choice(np.linspace(0, height, 64), 2, replace=False).tolist())
        places = []
        for corner, side in ((top, height), (bottom, height), (left, width), (right, width)):
            scaled = min(np.float64(corner) * (np.float64(size) / np.float64(side)), np.float64(size))
            places.append(int(max(np.ceil(scaled / np.float64(patch)), 1)) - 1)
        rows, columns = patches_of((left, top, right, bottom), (height, width), size, patch)
        assert (rows.start, rows.stop - 1, columns.start, columns.stop - 1) == tuple(places)
        assert 0 <= rows.start < rows.stop <= size // patch and 0 <= columns.start < columns.stop <= size // patch


@pytest.mark.parametrize("box", BAD.values(), ids=BAD)
def test_a_box_that_is_none(box):
    with pytest.raises(UserError, match="box") as told:
        foveal_masks([(0, 0, 5, 5), box], (40, 30), 64, 8)
    assert "\n" not in str(told.value)


def test_no_box():
    with pytest.raises(UserError, match="no box is given"):
        foveal_masks([], (40, 30), 64, 8)


@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (1, 5), (16, 16), (7, 2)])
def test_the_bell_written_as_a_loop(rows, columns):
    raw = [
        [math.exp(-0.5 * (math.hypot(y - (rows - 1) / 2, x - (columns - 1) / 2) / 100) ** 2) for x in range(columns)]
        for y in range(rows)
    ]
    low, high = min(map(min, raw)), max(map(max, raw))
    for y, x in product(range(rows), range(columns)):
        wanted = (raw[y][x] - low + 1e-6) / (high - low + 1e-6) * 0.2
        assert float(fovea(rows, columns)[y, x]) == pytest.approx(wanted, abs=1e-12)


def test_a_mask_is_the_fovea_in_its_place():
    """The class token has none; the picture's rows are the grid's rows."""
    mask = foveal_masks([(30, 4, 50, 20)], (40, 80), 64, 8, alpha=3.0)[0]
    assert mask[0] == 0
    grid = mask[1:].reshape(8, 8)
    rows, columns = patches_of((30, 4, 50, 20), (40, 80), 64, 8)
    assert torch.equal(grid[rows, columns], fovea(rows.stop - rows.start, columns.stop - columns.start, 3.0))
    grid[rows, columns] = 0
    assert not grid.any()


def test_one_head_alone():
    masks = foveal_masks([(0, 0, 9, 9), (20, 20, 60, 50)], (64, 64), 64, 8)
    alone = on_one_head(masks, 1, 3)
    assert torch.equal(alone[:, 1], masks) and not alone[:, [0, 2]].any()
    for head in (-1, 3):
        with pytest.raises(UserError, match="no head"):
            on_one_head(masks, head, 3)
