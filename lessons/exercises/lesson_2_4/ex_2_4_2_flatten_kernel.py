"""2.4.2  A conv kernel as a matrix, and back  (10 minutes, difficulty 2 of 5)

Official ViTs store the patch projection as a convolution kernel; this
project multiplies flattened patches, in the order channel, row, column,
with a matrix of D rows. Convert in both directions, so that
`conv2d(image, kernel, stride=p)` and `patches @ matrix.T` agree.
"""

import torch
from einops import rearrange


def flatten_kernel(kernel):
    """kernel (D, C, p, p) -> matrix (D, C * p * p)."""
    raise NotImplementedError


def unflatten_kernel(matrix, channels):
    """matrix (D, C * p * p) and the number of channels C -> kernel (D, C, p, p); p follows from the shape."""
    raise NotImplementedError
