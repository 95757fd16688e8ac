"""4.4.4  Enlarge a map, corner on corner  (20 minutes, difficulty 4 of 5)

The decoder enlarges its coarse map bilinearly with align_corners=True: the
first pixel of the large map lies on the first of the small one, the last on
the last, and the others at equal steps between. A place between pixels is a
weighted mean of its neighbours, first along one axis, then along the other.
Write it without torch's own interpolation. An axis of the small map may
have a single pixel (it is repeated), an axis of the large one too (it takes
the first).
"""

import torch


def enlarge(x, height, width):
    """x (B, C, h, w), two whole numbers -> (B, C, height, width)."""
    raise NotImplementedError
