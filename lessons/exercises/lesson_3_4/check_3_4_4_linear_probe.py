"""The check of 3.4.4: ridge weights against torch.linalg.lstsq on the system with the penalty written as rows."""

import torch
import torch.nn.functional as F

from lessons.checker import Mistake, Task

HINTS = [
    ("Y", "`F.one_hot(labels, num_classes)` counts in int64; make it `features.dtype`."),
    ("Where does the penalty go?", "On the diagonal of X^T X: `torch.eye(D, dtype=features.dtype) * strength`."),
    ("(C, D) comes out", "Multiply features on the left: X^T Y is (D, C)."),
]


def linear_probe(features, labels, num_classes, strength):
    targets = F.one_hot(labels, num_classes).to(features.dtype)
    penalty = strength * torch.eye(features.shape[1], dtype=features.dtype)
    return torch.linalg.solve(features.T @ features + penalty, features.T @ targets)


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


TASKS = [
    Task(
        "linear_probe",
        cases,
        reference=reference,
        like="torch.linalg.lstsq with the penalty as extra rows",
        tolerance=1e-8,
        forbidden=("lstsq",),
        mistakes=[
            Mistake(
                "least squares without the penalty", flawed, penalty=lambda s, n: 0.0, fix="Add strength * I to X^T X."
            ),
            Mistake("the weights with the penalty times the number of examples", flawed, penalty=lambda s, n: s * n),
            Mistake("the weights with the penalty squared", flawed, penalty=lambda s, n: s * s),
            Mistake(
                "the weights with the penalty on every entry of X^T X, not on its diagonal",
                flawed,
                all_entries=True,
                fix="strength * torch.eye(D).",
            ),
            Mistake("the weights with the penalty subtracted", flawed, penalty=lambda s, n: -s),
            Mistake("the weights for targets of 1 and -1 instead of 1 and 0", flawed, low=-1.0),
            Mistake(
                "the weights of features divided by their length",
                flawed,
                prepare=unit,
                fix="Use the features as they come.",
            ),
            Mistake("the weights transposed: (C, D)", flawed, turned=True),
            Mistake(
                "X^T Y alone: the features' own products were never divided out",
                lambda x, labels, classes, strength: x.T @ F.one_hot(labels, classes).to(x.dtype),
            ),
        ],
    )
]
