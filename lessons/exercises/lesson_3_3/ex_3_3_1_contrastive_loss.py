"""3.3.1  The contrastive loss  (15 minutes, difficulty 2 of 5)

A batch of B pictures and their B captions, in the same order: picture i
belongs to caption i and to no other. Normalise both embeddings, take the
scaled cosines, and ask twice: which caption belongs to this picture (cross
entropy along each row), and which picture to this caption (along each
column). The loss is the mean of both (Radford et al. 2021, figure 3). Like
ClipLoss of open_clip on normalised embeddings.

`torch.nn.functional.cross_entropy` is allowed here; 3.3.2 looks inside.
"""

import torch
import torch.nn.functional as F


def contrastive_loss(image, text, logit_scale):
    """image (B, E), text (B, E), not normalised, logit_scale () the logarithm of the scale -> loss ()."""
    raise NotImplementedError
