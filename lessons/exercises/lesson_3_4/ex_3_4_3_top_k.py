"""3.4.3  Top-k accuracy  (5 minutes, difficulty 1 of 5)

The share of pictures whose right class is among the k best ones. Like
torchmetrics' `MulticlassAccuracy(top_k=k, average="micro")`.
"""

import torch


def top_k_accuracy(logits, labels, k):
    """logits (B, C), labels (B), k a whole number -> a float from 0 to 1."""
    raise NotImplementedError
