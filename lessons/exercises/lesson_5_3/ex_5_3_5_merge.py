"""5.3.5  Controllable merging  (10 minutes, difficulty 2 of 5)

One object may need several proposals (a bird's head, its body). Of the
`count` best proposals keep those whose score is above `share` times the best
score (strictly; the best itself always), and give the union of their masks.
"""

import torch


def merge(masks, scores, count, share):
    """masks (M, H, W) bool, scores (M) above 0, count >= 1, share 0 to 1 -> (H, W) bool."""
    raise NotImplementedError
