"""A linear probe in closed form  (15 minutes, difficulty 3 of 5)

How good are frozen features? Fit a linear map from features to one-hot
labels by least squares with a penalty, solved at once (ridge regression):

    W = (X^T X + strength * I)^-1 X^T Y

X (N, D) features, Y (N, C) one-hot labels, W (D, C). `torch.linalg.solve`
solves A W = B without an inverse. No bias here.
"""

import torch
import torch.nn.functional as F


# %% solution
def linear_probe(features, labels, num_classes, strength):
    """features (N, D), labels (N), C and the penalty's strength -> weights (D, C)."""
    targets = F.one_hot(labels, num_classes).to(features.dtype)
    penalty = strength * torch.eye(features.shape[1], dtype=features.dtype)
    return torch.linalg.solve(features.T @ features + penalty, features.T @ targets)


# %% check: ridge weights against torch.linalg.lstsq on the system with the penalty written as rows
from lessons.checker import Mistake, Task


def cases(random):
    for count, dim, classes, strength in [(12, 4, 3, 1.0), (20, 6, 2, 0.1), (5, 8, 3, 2.0), (9, 3, 5, 10.0)]:
        features, labels = random(count, dim), random.integers(0, classes, count)
        yield {"features": features, "labels": labels, "num_classes": classes, "strength": strength}


def reference(features, labels, num_classes, strength):
    dim = features.shape[1]
    targets = torch.zeros(len(labels), num_classes, dtype=features.dtype)
    for row, label in enumerate(labels.tolist()):
        targets[row, label] = 1
    rows = torch.cat([features, strength**0.5 * torch.eye(dim, dtype=features.dtype)])
    right = torch.cat([targets, torch.zeros(dim, num_classes, dtype=features.dtype)])
    return torch.linalg.lstsq(rows, right).solution


def flawed(
    x, labels, classes, strength, penalty=lambda s, n: s, low=0.0, prepare=lambda x: x, all_entries=False, turned=False
):
    y = F.one_hot(labels, classes).to(x.dtype) * (1 - low) + low
    x = prepare(x)
    shape = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype) if all_entries else torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.pinv(x.T @ x + penalty(strength, len(x)) * shape) @ x.T @ y
    return weights.T if turned else weights


def unit(x):
    return F.normalize(x, dim=-1)


MISTAKES = [
    Mistake("least squares without the penalty", penalty=lambda s, n: 0.0, fix="Add strength * I to X^T X."),
    Mistake("the weights with the penalty times the number of examples", penalty=lambda s, n: s * n),
    Mistake("the weights with the penalty squared", penalty=lambda s, n: s * s),
    Mistake("the weights with the penalty on every entry of X^T X, not on its diagonal", all_entries=True,
            fix="strength * torch.eye(D)."),
    Mistake("the weights with the penalty subtracted", penalty=lambda s, n: -s),
    Mistake("the weights for targets of 1 and -1 instead of 1 and 0", low=-1.0),
    Mistake("the weights of features divided by their length", prepare=unit, fix="Use the features as they come."),
    Mistake("the weights transposed: (C, D)", turned=True),
    Mistake("X^T Y alone: the features' own products were never divided out",
            lambda x, labels, classes, strength: x.T @ F.one_hot(labels, classes).to(x.dtype)),
]

TASKS = [
    Task("linear_probe", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, tolerance=1e-8,
         like="torch.linalg.lstsq with the penalty as extra rows", forbidden=("lstsq",)),
]


# %% hints
HINTS = [
    ("Y", "`F.one_hot(labels, num_classes)` counts in int64; make it `features.dtype`."),
    ("Where does the penalty go?", "On the diagonal of X^T X: `torch.eye(D, dtype=features.dtype) * strength`."),
    ("(C, D) comes out", "Multiply features on the left: X^T Y is (D, C)."),
]
