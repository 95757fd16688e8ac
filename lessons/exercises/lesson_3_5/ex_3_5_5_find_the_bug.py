"""3.5.5  Find the bug: recall with five captions a picture  (10 minutes, difficulty 3 of 5)

Photograph collections have several captions for each picture, and
image-to-text recall@k is the share of pictures of which at least one own
caption is among the k best. This function gives numbers between 0 and 1,
plausible ones, and they are wrong. One line. `picture_of_text` tells for
each caption the number of its picture.
"""

import torch


def image_to_text_recall(similarity, picture_of_text, k):
    """similarity (P pictures, T texts), picture_of_text (T) -> a float."""
    best = similarity.topk(k, dim=1).indices
    own = torch.arange(len(similarity))[:, None]
    hits = picture_of_text[best] == own
    return hits.all(dim=1).double().mean().item()
