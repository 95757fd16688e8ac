"""3.3.6  Find the bug: a model that learns half  (10 minutes, difficulty 3 of 5)

Somebody's training step. The loss falls nicely and pictures find their
captions; captions find their pictures far worse than they should. It ought
to be CLIP's symmetric loss. One line is wrong; every shape is right.
"""

import torch
import torch.nn.functional as F


def training_loss(image, text, logit_scale):
    """image (B, E), text (B, E), logit_scale () the logarithm of the scale -> loss ()."""
    image = F.normalize(image, dim=-1)
    text = F.normalize(text, dim=-1)
    logits = logit_scale.exp() * (image @ text.T)
    labels = torch.arange(len(logits))
    image_loss = F.cross_entropy(logits, labels)
    text_loss = F.cross_entropy(logits, labels.T)
    return (image_loss + text_loss) / 2
