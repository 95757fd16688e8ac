"""4.5.2  P@X: how often is it good enough?  (10 minutes, difficulty 1 of 5)

Precision at X: the share of the expressions whose own IoU is at least X,
for each X asked. It tells apart a model that is half right everywhere from
one that is right on every second expression, though their mean IoU may be
the same.
"""

import torch


def precision_at(ious, levels):
    """ious (K), the IoU of each expression, levels a tuple of numbers -> a tensor, one share for each level."""
    raise NotImplementedError
