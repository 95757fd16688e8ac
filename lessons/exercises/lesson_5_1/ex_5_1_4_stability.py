"""5.1.4  How steady is a mask?  (10 minutes, difficulty 2 of 5)

A mask is where its logits are above 0. A good one hardly changes when that
threshold moves. Its stability score is the IoU of two masks: at the threshold
+ offset and at the threshold - offset. One lies inside the other, so that it
is a share of two counts (SAM's `calculate_stability_score`). An empty outer
mask has no score: NaN.
"""

import torch


def stability(logits, offset):
    """logits (M, H, W), offset above 0 -> (M), between 0 and 1, or NaN."""
    raise NotImplementedError
