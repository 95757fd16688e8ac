"""3.3.5  Temperature and its limit  (5 minutes, difficulty 2 of 5)

CLIP learns the logarithm of its scale. It begins at a temperature of 0.07,
the scale being one over the temperature, and the scale may never exceed
100 (Radford et al. 2021, section 2.5), or training becomes unstable.

`scale_of`: the stored number that belongs to a temperature.
`limit`: the stored number, cut so that the scale is at most 100; like
`torch.clamp(logit_scale, max=...)` with the right number. It may be as small
as it likes.
"""

import math

import torch


def scale_of(temperature):
    """A float such as 0.07 -> the stored logarithm, a float (2.659...)."""
    raise NotImplementedError


def limit(logit_scale):
    """The stored logarithm, a tensor () -> a tensor () whose exp is at most 100."""
    raise NotImplementedError
