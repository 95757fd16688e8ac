"""4.3.3  Between a text and a picture  (10 minutes, difficulty 1 of 5)

A text and a picture become vectors of the same space, so a prompt may lie
anywhere between them. Make a row of prompts, one for each weight w:

    w * text + (1 - w) * picture

Neither end is normalised before or after, as in the released models. Like
torch.lerp from picture to text.
"""

import torch


def mixes(text, picture, weights):
    """text (E), picture (E), weights (W) in 0-1 -> (W, E)."""
    raise NotImplementedError
