"""3.2.2  Cosine logits  (10 minutes, difficulty 1 of 5)

CLIP compares directions: both embeddings are divided by their length, and
their products are multiplied with a learned scale, of which the logarithm
is stored:

    logits[i, t] = exp(logit_scale) * cosine(image i, text t)

Hand in `{"image": normalised, "text": normalised, "logits": (B, T)}`. The
cosine is that of `torch.nn.functional.cosine_similarity`.
"""

import torch


def clip_logits(image, text, logit_scale):
    """image (B, E), text (T, E), logit_scale () -> dict with image (B, E), text (T, E), logits (B, T)."""
    raise NotImplementedError
