"""4.4.6  A learning rate that falls to nothing  (10 minutes, difficulty 1 of 5)

LAVT's learning rate falls as a polynomial: at step s of S (counted from 0)
it is base * (1 - s / S) ** 0.9. It begins at `base` and would be 0 at step
S. Nearly a straight line, a little above it nearly everywhere, and steep
at the very end.
"""

import torch


def learning_rates(base, steps):
    """base a number, steps S a whole number -> a float64 tensor (S) with the rate of each step."""
    raise NotImplementedError
