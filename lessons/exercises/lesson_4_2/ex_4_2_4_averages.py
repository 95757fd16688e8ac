"""4.2.4  Three averages of one IoU  (15 minutes, difficulty 3 of 5)

The same masks, three numbers, all called IoU somewhere. In each, the
denominator gets 1 more pixel, as in the paper's code, so that empty masks
have a value:

    "scenes"    IoU of each mask, then the mean over the masks
    "pixels"    both and either summed over ALL masks, then one division:
                the paper's IoU_FG; large masks count most
    "classes"   both and either summed over the masks of each class, one
                division for each class, then the mean over the classes: mIoU
"""

import torch


def three_averages(found, truth, classes):
    """found, truth (N, H, W) bool, classes (N) whole numbers -> dict of three numbers (float64 tensors, ())."""
    raise NotImplementedError
