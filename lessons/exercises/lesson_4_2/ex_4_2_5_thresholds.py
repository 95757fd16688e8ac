"""4.2.5  Precision and recall at every threshold  (15 minutes, difficulty 2 of 5)

A threshold trades one mistake for the other. At each one, counting the
pixels of all masks together:

    precision   right among found:  tp / (1 + tp + fp)
    recall      found among meant:  tp / (1 + tp + fn)

tp: found and meant; fp: found, not meant; fn: meant, not found; found means
strictly above the threshold. The 1 is the paper's code's. These pairs are
what its AP integrates over.
"""

import torch


def precision_recall(probabilities, truth, thresholds):
    """probabilities (N, H, W) in 0-1, truth (N, H, W) bool, thresholds (T)
    -> {"precision": (T) float64, "recall": (T) float64}."""
    raise NotImplementedError
