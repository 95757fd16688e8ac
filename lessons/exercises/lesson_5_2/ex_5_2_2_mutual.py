"""5.2.2  Mutual nearest neighbours  (10 minutes, difficulty 2 of 5)

Patch r of the reference likes target patch t best. Does t like r best, too?
Then they are a mutual pair. Many one-way matches are lost this way, most of
the wrong ones among them.
"""

import torch


def mutual_pairs(cosines):
    """cosines (R, N) -> (pairs, 2) int64: (reference patch, target patch), by ascending reference patch."""
    raise NotImplementedError
