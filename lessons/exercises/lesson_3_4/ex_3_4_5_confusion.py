"""3.4.5  Who is taken for whom?  (10 minutes, difficulty 2 of 5)

Count in a table how often each class was answered with each class: row =
right class, column = answer. And the mean of the classes' own accuracies,
which does not favour frequent classes. A class that never occurs counts
nowhere. Like sklearn's `confusion_matrix` and `balanced_accuracy_score`.

    {"table": (C, C) int64, "mean_accuracy": a float}
"""

import torch


def confusion(answers, labels, num_classes):
    """answers (N), labels (N), C -> dict with table (C, C) and mean_accuracy."""
    raise NotImplementedError
