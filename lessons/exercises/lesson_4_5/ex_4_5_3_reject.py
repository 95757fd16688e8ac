"""4.5.3  When to answer "it is not there"  (15 minutes, difficulty 3 of 5)

LAVT always paints what it finds likeliest. A score for the whole answer
lets it stay silent: the mean probability of the pixels it painted. Painted
are pixels whose referent logit is larger than the background logit; their
probability is a softmax over the two; an answer without a painted pixel
scores 0. Given answers to sentences whose referent is there and to
sentences whose referent is absent, find for each threshold two shares: of
the present ones how many are kept, of the absent ones how many are
refused. An answer is kept when its score is at least the threshold.
"""

import torch


def keep_and_refuse(present, absent, thresholds):
    """present (P, 2, H, W) and absent (A, 2, H, W) logits, thresholds (L)
    -> {"kept": (L) of the present, "refused": (L) of the absent}."""
    raise NotImplementedError
