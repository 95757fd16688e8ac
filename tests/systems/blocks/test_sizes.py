"""Pictures that cannot be cut, and tables that are no grid: refused on either axis."""

import pytest
import torch

from minimodels.blocks import resize_positions, split_patches
from minimodels.errors import UserError


@pytest.mark.parametrize("height, width", [(5, 6), (6, 5), (0, 4), (4, 0), (0, 0), (1, 2), (2, 1)])
def test_both_axes_are_looked_at(height, width):
    with pytest.raises(UserError, match=f"{height} x {width} pixels cannot be cut into patches of 2 x 2"):
        split_patches(torch.zeros(1, 3, height, width), 2)


@pytest.mark.parametrize("grid", [(3, 5), (4, 4), (2, 12), (3, 0), (12, 2)])
def test_a_table_of_another_size(grid):
    with pytest.raises(UserError, match=rf"12 positions are no grid of {grid[0]} x {grid[1]} patches"):
        resize_positions(torch.zeros(12, 5), grid, (2, 2), antialias=False)
    for right in ((3, 4), (4, 3), (2, 6), (12, 1)):
        assert resize_positions(torch.zeros(12, 5), right, (2, 2), antialias=False).shape == (4, 5)
