"""5.3.4  Purity and coverage  (10 minutes, difficulty 2 of 5)

How many matched points lie inside a proposed mask? Coverage divides that by
the number of points: a mask of everything has all of it. Purity divides it by
the number of patches that the mask touches (one pixel is enough), at least 1:
a mask of everything has little.

    {"purity": a float, "coverage": a float}
"""

import torch


def purity_coverage(mask, points, patch_size):
    """mask (H, W) bool, points (K, 2) int64 as (x, y), patch_size divides H and W -> dict of two floats."""
    raise NotImplementedError
