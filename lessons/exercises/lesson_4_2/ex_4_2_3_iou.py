"""4.2.3  Intersection over union  (10 minutes, difficulty 1 of 5)

How good is a mask? Pixels that are both found and meant, divided by pixels
that are found or meant. A pixel is found where its probability is strictly
above the threshold. One number for each mask; where nothing is found and
nothing is meant, the number is 0 (there is nothing to be right about).
"""

import torch


def iou(probabilities, truth, threshold):
    """probabilities (N, H, W) in 0-1, truth (N, H, W) bool, threshold a number -> (N) float64."""
    raise NotImplementedError
