"""5.1.3  Only the best answer learns  (15 minutes, difficulty 3 of 5)

A click may mean several things, so SAM gives M masks for each of P prompts,
and training knows one wanted mask a prompt. The loss of one mask is the binary
cross entropy of its logits, the mean over its pixels. The loss of a prompt is
that of its best mask alone. To it comes what the IoU head gets wrong, for all
masks: the mean squared difference between the IoU that it predicted and the
true IoU of the mask (logits above 0) with what was wanted. The whole loss is
the mean over prompts of the first, plus the second. No gradient flows into the
true IoU.
"""

import torch
import torch.nn.functional as F


def ambiguity_loss(logits, predicted, wanted):
    """logits (P, M, H, W), predicted (P, M), wanted (P, H, W) of 0 and 1 -> a number."""
    raise NotImplementedError
