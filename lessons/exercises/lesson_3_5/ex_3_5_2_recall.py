"""3.5.2  Recall at k  (10 minutes, difficulty 2 of 5)

How good is the search? T texts, and T pictures in the same order; the
right picture for text t is picture t. Recall@k is the share of texts whose
picture is among the k best. The similarity matrix has pictures in its rows
and texts in its columns, as CLIP's logits do.
"""

import torch


def recall_at_k(similarity, k):
    """similarity (T pictures, T texts), k -> a float: text-to-image recall."""
    raise NotImplementedError
