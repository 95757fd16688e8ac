"""4.5.1  Two IoUs that disagree  (10 minutes, difficulty 2 of 5)

Papers on referring segmentation give two numbers. Overall IoU: add up the
intersections of all expressions, add up their unions, divide once. Mean
IoU: divide for each expression, then average. Large objects rule the first,
every expression counts alike in the second. Where neither mask has a pixel,
an expression's IoU counts as 0.
"""

import torch


def two_ious(found, meant):
    """found and meant (K, H, W) bool, one mask for each of K expressions -> {"overall": number, "mean": number}."""
    raise NotImplementedError
