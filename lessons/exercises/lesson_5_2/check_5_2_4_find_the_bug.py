"""The check of 5.2.4: what comes back, against loops over scipy's assignments."""

import torch
from scipy.optimize import linear_sum_assignment

from lessons.checker import Mistake, Task

HINTS = [
    ("How to see it", "Print `returned`: can it ever hold a False?"),
    (
        "What an outlier is",
        "A target patch that fits a reference patch outside the mask better. Is it asked about those?",
    ),
    ("The line", "The second assignment must see all rows of `cosines`."),
]


def keep_returning(cosines, marked):
    inside = torch.where(marked)[0]
    _, target = linear_sum_assignment(cosines[inside], maximize=True)
    target = torch.from_numpy(target)
    _, back = linear_sum_assignment(cosines[:, target].T, maximize=True)
    returned = marked[torch.from_numpy(back)]
    return target[returned]


def cases(random):
    for reference, target, count in [(14, 16, 6), (12, 12, 5), (16, 9, 7), (20, 14, 8)]:
        marked = torch.zeros(reference, dtype=torch.bool)
        marked[random.order(reference)[:count]] = True
        yield {"cosines": random(reference, target), "marked": marked}


def reference(cosines, marked):
    table, wanted = cosines.tolist(), marked.tolist()
    rows = [row for row, one in zip(table, wanted) if one]
    forward = linear_sum_assignment(rows, maximize=True)[1].tolist()
    mirrored = [[row[t] for row in table] for t in forward]
    back = linear_sum_assignment(mirrored, maximize=True)[1].tolist()
    return torch.tensor([t for t, r in zip(forward, back) if wanted[r]], dtype=torch.long)


def flawed(cosines, marked, way="all", keep="marked", nearest=False):
    inside = torch.where(marked)[0]
    rows, target = linear_sum_assignment(cosines[inside], maximize=True)
    rows, target = torch.from_numpy(rows), torch.from_numpy(target)
    candidates = inside if way == "inside" else torch.arange(len(cosines))
    table = cosines[candidates][:, target].T
    back = table.argmax(dim=1) if nearest else torch.from_numpy(linear_sum_assignment(table, maximize=True)[1])
    back = candidates[back]
    stay = {"marked": marked[back], "others": ~marked[back], "same": back == inside[rows]}[keep]
    return target[stay]


TASKS = [
    Task(
        "keep_returning",
        cases,
        reference=reference,
        like="loops over scipy's assignments",
        mistakes=[
            Mistake("that of the file as you were given it: the bug is still in it", flawed, way="inside"),
            Mistake("the pairs that do not come back to the mask", flawed, keep="others", fix="Keep the marked ones."),
            Mistake("the pairs that come back to the very patch they left", flawed, keep="same", fix="Any marked one."),
            Mistake("the way back by nearest patches, not by an assignment", flawed, nearest=True),
            Mistake(
                "the right patches, in ascending order", lambda c, m: reference(c, m).sort().values, fix="Do not sort."
            ),
            Mistake("the reverse pairs of all target patches", lambda c, m: torch.where(m[c.argmax(dim=0)])[0]),
        ],
    )
]
