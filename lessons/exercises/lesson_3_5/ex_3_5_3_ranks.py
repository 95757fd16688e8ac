"""3.5.3  Ranks: the median and the mean reciprocal  (10 minutes, difficulty 2 of 5)

Two more numbers about the same search. The rank of a text is the place of
its picture among all pictures, the best place being 1. The median rank is
`torch.median`'s (the lower one of the two in the middle); the mean reciprocal
rank is the mean of 1 / rank.

    {"median_rank": a float, "mean_reciprocal_rank": a float}
"""

import torch


def rank_measures(similarity):
    """similarity (T pictures, T texts), the right pairs on the diagonal -> dict of two floats."""
    raise NotImplementedError
