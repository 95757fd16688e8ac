"""3.3.3  Accuracy in the batch  (5 minutes, difficulty 1 of 5)

A number to watch while training: of B pictures and B captions, for which
share of the pictures is their own caption the best of all, and the other
way round? Logits are (pictures, captions); the right pairs stand on the
diagonal.

    {"image_to_text": a float from 0 to 1, "text_to_image": the same}
"""

import torch


def batch_accuracy(logits):
    """logits (B, B) -> dict of two floats."""
    raise NotImplementedError
