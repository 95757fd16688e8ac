"""2.6.3  The index of relative positions  (15 minutes, difficulty 3 of 5)

In a window of side x side tokens the way from token b to token a is
(ya - yb, xa - xb), each between -(side-1) and side-1. A table has one row
for each possible way, ordered by the way down first, then by the way to the
right. For each pair (a, b), give the number of its row, counted from 0.

Like `get_relative_position_index` of timm's swin_transformer.py, and like
the buffer `relative_position_index` in every official Swin file.
"""

import torch


def relative_position_index(side):
    """-> integers (N, N), N = side * side; entry [a, b] is between 0 and (2 side - 1)^2 - 1."""
    raise NotImplementedError
