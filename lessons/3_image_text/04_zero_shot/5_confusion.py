"""Who is taken for whom?  (10 minutes, difficulty 2 of 5)

Count in a table how often each class was answered with each class: row =
right class, column = answer. And the mean of the classes' own accuracies,
which does not favour frequent classes. A class that never occurs counts
nowhere. Like sklearn's `confusion_matrix` and `balanced_accuracy_score`.

    {"table": (C, C) int64, "mean_accuracy": a float}
"""

import torch


# %% solution
def confusion(answers, labels, num_classes):
    """answers (N), labels (N), C -> dict with table (C, C) and mean_accuracy."""
    pairs = labels * num_classes + answers
    table = torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    totals = table.sum(dim=1)
    seen = totals > 0
    accuracy = table.diagonal()[seen].double() / totals[seen]
    return {"table": table, "mean_accuracy": accuracy.mean().item()}


# %% check: counts against a loop
from lessons.checker import Mistake, Task


def cases(random):
    for count, classes in [(20, 3), (30, 4), (15, 5)]:
        labels = random.integers(0, classes, count)
        answers = torch.where(random(count) > 0.2, labels, random.integers(0, classes, count))
        yield {"answers": answers, "labels": labels, "num_classes": classes}
    yield {"answers": torch.tensor([0, 2, 2, 1, 3]), "labels": torch.tensor([0, 0, 2, 2, 2]), "num_classes": 4}


def reference(answers, labels, num_classes):
    rows = [[0] * num_classes for _ in range(num_classes)]
    for answer, label in zip(answers.tolist(), labels.tolist()):
        rows[label][answer] += 1
    shares = [row[at] / sum(row) for at, row in enumerate(rows) if sum(row)]
    return {"table": torch.tensor(rows), "mean_accuracy": sum(shares) / len(shares)}


def flawed(answers, labels, classes, axis=1, turned=False, once=False, overall=False, everyone=False):
    pairs = (answers * classes + labels) if turned else (labels * classes + answers)
    table = torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    table = table.clamp(max=1) if once else table
    totals = table.sum(dim=axis)
    if overall:
        accuracy = table.diagonal().sum() / table.sum().double()
    elif everyone:
        accuracy = (table.diagonal() / totals.clamp(min=1).double()).mean()
    else:
        accuracy = (table.diagonal()[totals > 0].double() / totals[totals > 0]).mean()
    return {"table": table, "mean_accuracy": accuracy.item()}


def shares(answers, labels, classes):
    table = reference(answers, labels, classes)["table"].double()
    return reference(answers, labels, classes) | {"table": table / table.sum(dim=1, keepdim=True).clamp(min=1)}


MISTAKES = [
    Mistake("the table transposed: answers in the rows", turned=True, axis=0, fix="Rows are the right classes."),
    Mistake("the table transposed, with accuracies along its rows", turned=True, fix="Rows are the right classes."),
    Mistake("a table in which each pair was counted once: table[labels, answers] += 1 does not repeat", once=True,
            fix="Loop, or torch.bincount."),
    Mistake("the share of all right answers instead of the mean over classes", overall=True),
    Mistake("the mean over all classes, with those that never occur counted as 0", everyone=True),
    Mistake("the mean over classes of how often an answer is right (precision)", axis=0, fix="Divide by row sums."),
    Mistake("a table of shares instead of counts", shares, fix="Keep the counts."),
]

TASKS = [
    Task("confusion", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="a count one by one"),
]


# %% hints
HINTS = [
    ("Counts are too small",
     "`table[labels, answers] += 1` adds only once for a pair that occurs several times. Loop, or use "
     "`torch.bincount`."),
    ("One number for a pair",
     "`labels * C + answers` is a different number for each pair; `bincount(minlength=C * C)` counts them."),
    ("NaN", "A class without examples has 0 / 0: leave it out of the mean."),
]
