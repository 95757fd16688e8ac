"""Clouds of one point, of a million, and clouds that are none."""

import math

import pytest
import torch

from minimodels.depth_maps import FARTHEST, dense_depth_maps, depth_maps, region
from minimodels.errors import UserError

BAD = {
    "empty": torch.zeros(0, 3),
    "two numbers a point": torch.zeros(5, 2),
    "one axis": torch.zeros(3),
    "a batch of clouds": torch.zeros(2, 5, 3),
    "whole numbers": torch.zeros(5, 3, dtype=torch.long),
    "NaN": torch.tensor([[0.0, 0.0, 0.0], [math.nan, 0.0, 0.0]]),
    "infinite": torch.tensor([[0.0, -math.inf, 0.0]]),
    "far beyond": torch.tensor([[0.0, 2 * FARTHEST, 0.0]]),
}


@pytest.mark.parametrize("points", BAD.values(), ids=BAD)
@pytest.mark.parametrize("project", [depth_maps, dense_depth_maps])
def test_no_cloud(points, project):
    with pytest.raises(Exception, match="point|type") as told:
        project(points)
    assert told.type is UserError or "jaxtyping" in str(told.type)


@pytest.mark.parametrize("points", [torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([[0.1, 0.2, 0.3]] * 5)])
def test_all_points_at_one_place(points):
    """One pixel in each of the six maps, its depth in it. The dense maps scale by the size: this has none."""
    maps = depth_maps(points.double())
    assert ((maps > 0).sum(dim=(1, 2)) == 1).all()
    assert float(maps[0].max()) == pytest.approx(0.3 + 1.6, abs=1e-6)  # turned about z alone
    with pytest.raises(UserError, match="one place"):
        dense_depth_maps(points)


def test_a_million_points():
    """What no pixel can tell from a thousandth of them: every pixel is between the nearest and the farthest depth."""
    points = torch.nn.functional.normalize(torch.randn(1_000_000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    maps = depth_maps(points)
    seen = maps[maps > 0]
    assert maps.shape == (6, 128, 128) and maps.dtype == torch.float32
    assert float(seen.min()) >= 0.6 - 1e-6 and float(seen.max()) <= 2.6 + 1e-6


def test_one_pixel_of_a_million():
    """A million points in one pixel: their harmonic mean, as computed by a sum over them."""
    depth = torch.linspace(0.5, 1.0, 1_000_000, dtype=torch.float64)
    points = torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth - 1.6], dim=1)
    pixel = depth_maps(points)[0][64, 64]
    assert float(pixel) == pytest.approx(len(depth) / float((1 / depth).sum()), rel=1e-9)


def test_out_of_view():
    with pytest.raises(UserError, match="no point of the cloud is in view"):
        region(depth_maps(torch.tensor([[50.0, 50.0, -50.0]]))[0])


def test_the_region_of_a_map():
    depth = torch.zeros(8, 8)
    depth[2, 3] = depth[4, 6] = 1.0
    assert region(depth).tolist() == [3, 2, 7, 5]


def test_dtype_of_the_points_is_that_of_the_maps():
    points = torch.randn(50, 3).half() / 4
    assert depth_maps(points).dtype == dense_depth_maps(points).dtype == torch.float16
