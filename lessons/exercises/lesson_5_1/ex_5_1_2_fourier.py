"""5.1.2  A place as waves  (10 minutes, difficulty 2 of 5)

A click is a pixel, (x, y), counted from 0. Its token is made of waves: shift
it to the middle of the pixel, divide by the side of the padded square, so that
it lies between 0 and 1, stretch that to -1 ... 1, multiply with a matrix of
random frequencies, times 2 pi, and take the sines, then the cosines (SAM's
`PositionEmbeddingRandom`; Tancik et al. 2020).
"""

import math

import torch


def encode_points(points, frequencies, side):
    """points (N, 2), frequencies (2, C / 2), side of the square in pixels -> (N, C), sines before cosines."""
    raise NotImplementedError
