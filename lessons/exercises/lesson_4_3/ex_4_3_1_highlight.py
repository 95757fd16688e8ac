"""4.3.1  Show what is meant: highlight  (10 minutes, difficulty 1 of 5)

A picture prompt shows the object as it is and plays the rest down: outside
the mask stands a blurred copy, multiplied by a factor. Every picture has a
mask of its own. Pictures are normalised, so a factor of 0 means the mean
grey of the data, not black.

    object:      picture
    background:  factor * blurred
"""

import torch


def highlight(picture, mask, blurred, factor):
    """picture (B, 3, H, W), mask (B, H, W) bool, blurred (B, 3, H, W), factor a number -> (B, 3, H, W)."""
    raise NotImplementedError
