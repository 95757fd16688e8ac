"""4.4.3  The language gate  (10 minutes, difficulty 2 of 5)

How much of the words goes on with the picture? From F, the map in which
words and picture are mixed, two linear layers without bias, a ReLU between
them, a tanh at the end, make a number between -1 and 1 for each position
and channel. F is multiplied by it and added to V, the map without words:
E = V + gate * F. Weights are stored as in torch.nn.Linear, (out, in).
"""

import torch
import torch.nn.functional as F


def language_gate(visual, fused, weight1, weight2):
    """visual V and fused F (B, N, C), weights (C, C) -> {"gate": (B, N, C), "out": E (B, N, C)}."""
    raise NotImplementedError
