"""The best assignment, by trying all  (15 minutes, difficulty 3 of 5)

One-way matching may send ten patches to the same place. An assignment gives
each row a column of its own, and the best one has the largest sum of
similarities. For a handful of rows one can try every choice
(`itertools.permutations`); give what
`scipy.optimize.linear_sum_assignment(cosines, maximize=True)` gives, without
calling it. There are at least as many columns as rows.
"""

from itertools import permutations

import torch


# %% solution
def assign(cosines):
    """cosines (R, N) with R <= N -> int64 (R): the column of each row."""
    rows = torch.arange(len(cosines))
    choices = permutations(range(cosines.shape[1]), len(cosines))
    return max((torch.tensor(choice) for choice in choices), key=lambda columns: cosines[rows, columns].sum().item())


# %% check: trying all against scipy's solver
from scipy.optimize import linear_sum_assignment

from lessons.checker import Mistake, Task


def cases(random):
    for rows, columns in [(3, 4), (4, 4), (3, 6), (5, 5)]:
        yield {"cosines": random(rows, columns) + random(1, columns)}


def reference(cosines):
    return torch.from_numpy(linear_sum_assignment(cosines.numpy(), maximize=True)[1])


def row_by_row(cosines, largest=True):
    """Each row in turn takes the best column that is left."""
    taken: list[int] = []
    for row in cosines.tolist():
        free = [column for column in range(len(row)) if column not in taken]
        taken.append((max if largest else min)(free, key=row.__getitem__))
    return torch.tensor(taken)


def best_pair_first(cosines):
    left, chosen = cosines.clone(), torch.zeros(len(cosines), dtype=torch.long)
    for _ in range(len(cosines)):
        row, column = divmod(int(left.argmax()), left.shape[1])
        chosen[row] = column
        left[row], left[:, column] = -torch.inf, -torch.inf
    return chosen


def bottleneck(cosines):
    rows = torch.arange(len(cosines))
    choices = [torch.tensor(choice) for choice in permutations(range(cosines.shape[1]), len(cosines))]
    return max(choices, key=lambda columns: cosines[rows, columns].min().item())


def first_columns(cosines):
    return reference(cosines[:, : len(cosines)])


MISTAKES = [
    Mistake("the nearest column of each row, taken twice or not", lambda c: c.argmax(dim=1), fix="One row each."),
    Mistake("row by row the best column that is left: greedy", row_by_row, fix="A later row may need it more."),
    Mistake("the best pair first, then the best of the rest: greedy", best_pair_first, fix="Compare sums."),
    Mistake("the assignment with the smallest sum", lambda c: reference(-c), fix="maximise."),
    Mistake("the assignment whose worst pair is best", bottleneck, fix="The sum counts."),
    Mistake("the best assignment to the first R columns", first_columns, fix="permutations(range(N), R)."),
    Mistake("the best order of columns to leave out of account: 0, 1, 2 ...", lambda c: torch.arange(len(c))),
]

TASKS = [
    Task("assign", cases, reference=reference, mistakes=MISTAKES, like="scipy.optimize.linear_sum_assignment",
         forbidden=("linear_sum_assignment",)),
]


# %% hints
HINTS = [
    ("All choices", "`permutations(range(N), R)` gives every way to give R rows different columns."),
    ("The worth of one", "`cosines[torch.arange(R), torch.tensor(columns)].sum()`."),
    ("The best of them", "`max(..., key=...)` keeps the choice itself, not its sum."),
]
