"""2.5.5  The teacher follows  (5 minutes, difficulty 2 of 5)

The teacher is not trained. After each step it becomes a little more like the
student, every parameter by itself (Caron et al. 2021, section 3.1):

    teacher <- momentum * teacher + (1 - momentum) * student

and the momentum rises along half a cosine, from its start at step 0 to 1 at
the last step (step == steps):

    momentum(step) = 1 - (1 - start) * (1 + cos(pi * step / steps)) / 2

Give back the teacher's new parameters; change none of the ones you got.
"""

import math

import torch


def follow(teacher, student, step, steps, start):
    """Dicts {name: tensor} with the same names -> the teacher's new dict."""
    raise NotImplementedError
