"""Find the bug: a way back that forgives everything  (10 minutes, difficulty 3 of 5)

Matcher goes from the marked reference patches to the target by an assignment,
and from the matched target patches back to the reference by another one. A
pair stays if the way back ends at any marked patch. This function has the
right shapes and never complains, and it never removes an outlier either. One
line is wrong.
"""

import torch
from scipy.optimize import linear_sum_assignment


# %% given: with its bug
def keep_returning(cosines, marked):
    """cosines (R, N), marked (R) bool -> target patches that stay, int64, in the order of the marked patches."""
    inside = torch.where(marked)[0]
    _, target = linear_sum_assignment(cosines[inside], maximize=True)
    target = torch.from_numpy(target)
    _, back = linear_sum_assignment(cosines[inside][:, target].T, maximize=True)
    returned = marked[inside[torch.from_numpy(back)]]
    return target[returned]


# %% solution
def keep_returning(cosines, marked):
    inside = torch.where(marked)[0]
    _, target = linear_sum_assignment(cosines[inside], maximize=True)
    target = torch.from_numpy(target)
    _, back = linear_sum_assignment(cosines[:, target].T, maximize=True)
    returned = marked[torch.from_numpy(back)]
    return target[returned]


# %% check: what comes back, against loops over scipy's assignments
from lessons.checker import Mistake, Task


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


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", way="inside"),
    Mistake("the pairs that do not come back to the mask", keep="others", fix="Keep the marked ones."),
    Mistake("the pairs that come back to the very patch they left", keep="same", fix="Any marked one."),
    Mistake("the way back by nearest patches, not by an assignment", nearest=True),
    Mistake("the right patches, in ascending order", lambda c, m: reference(c, m).sort().values, fix="Do not sort."),
    Mistake("the reverse pairs of all target patches", lambda c, m: torch.where(m[c.argmax(dim=0)])[0]),
]

TASKS = [
    Task("keep_returning", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="loops over scipy's assignments"),
]


# %% hints
HINTS = [
    ("How to see it", "Print `returned`: can it ever hold a False?"),
    ("What an outlier is",
     "A target patch that fits a reference patch outside the mask better. Is it asked about those?"),
    ("The line", "The second assignment must see all rows of `cosines`."),
]
