"""3.3.4  The learning rate's curve  (10 minutes, difficulty 2 of 5)

CLIP's rate climbs in a straight line during the warm-up, then falls along
half a cosine to zero. Steps count from 0:

    step < warm_up:   peak * (step + 1) / warm_up
    later:            peak * (1 + cos(pi * t)) / 2,
                      t = (step - warm_up) / (total - warm_up)

Like open_clip's `cosine_lr`.
"""

import math


def learning_rate(step, warm_up, total, peak):
    """Three whole numbers and a float -> a float."""
    raise NotImplementedError
