"""4.4.5  A loss in which the few count more  (10 minutes, difficulty 2 of 5)

LAVT is trained with a cross entropy over two classes, background and
referent. Most pixels are background; so each pixel's loss is multiplied by
the weight of its true class, 0.9 for background (class 0) and 1.1 for the
referent (class 1). The mean that remains is a weighted one: the sum of the
weighted losses divided by the sum of the weights that were used.
"""

import torch


def weighted_loss(logits, mask, weights):
    """logits (B, 2, H, W), mask (B, H, W) of 0 and 1, weights (2) -> one number."""
    raise NotImplementedError
