"""2.5.2  Positions the official way  (10 minutes, difficulty 3 of 5)

DINOv2 without registers resizes its table of positions by a factor, not to
a size. For a picture of h x w patches and a table of side x side rows, the
factors handed to `torch.nn.functional.interpolate` are

    (h + 0.1) / side   and   (w + 0.1) / side

bicubic, align_corners False, no antialias, `scale_factor=` and not `size=`.
The 0.1 was meant against rounding. It also moves every sample a little, and
the released weights are used with it, so it stays. Row 0 of the table is the
class token's and stays as it is; the patches' rows follow, row by row.
"""

import torch
import torch.nn.functional as F
from einops import rearrange


def resize_positions(pos, h, w):
    """pos (1 + side * side, D), a grid of h x w patches -> (1 + h * w, D)."""
    raise NotImplementedError
