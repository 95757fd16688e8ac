"""Every patch against every patch  (10 minutes, difficulty 1 of 5)

Features of two pictures, one row a patch. `similarity` compares each
reference patch with each target patch by the cosine of the angle between
their features, like `torch.nn.functional.cosine_similarity`. `nearest` says
for each marked reference patch which target patch is most similar: one-way
matching.
"""

import torch


# %% solution
def similarity(reference, target):
    """reference (R, D), target (N, D) -> cosines (R, N)."""
    reference = reference / reference.norm(dim=-1, keepdim=True)
    target = target / target.norm(dim=-1, keepdim=True)
    return reference @ target.T


def nearest(cosines, marked):
    """cosines (R, N), marked (R) bool -> target patch of each marked one, int64, in the order of the reference."""
    return cosines[marked].argmax(dim=1)


# %% check: cosines against torch's, nearest patches against a loop
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cosine_cases(random):
    for reference, target, dim in [(4, 6, 3), (5, 5, 5), (7, 2, 4)]:
        yield {"reference": random(reference, dim) * 3, "target": random(target, dim) + 1}


def nearest_cases(random):
    for reference, target in [(9, 12), (8, 8), (12, 7)]:
        marked = torch.arange(reference) % 3 != 1
        yield {"cosines": random(reference, target), "marked": marked[random.order(reference)]}


def cosine_reference(reference, target):
    return F.cosine_similarity(reference[:, None], target[None], dim=-1)


def nearest_reference(cosines, marked):
    return torch.tensor([max(range(len(row)), key=row.__getitem__) for row in cosines[marked].tolist()])


def flawed(reference, target, first=-1, second=-1):
    reference = reference if first is None else F.normalize(reference, dim=first)
    return reference @ (target if second is None else F.normalize(target, dim=second)).T


def flawed_nearest(cosines, marked, rows=True, axis=1, best=torch.argmax):
    cosines = cosines[marked] if rows else cosines
    return best(cosines, dim=axis)


SIMILARITY_MISTAKES = [
    Mistake("plain products: neither side is normalised", first=None, second=None, fix="Both sides."),
    Mistake("cosines with the reference not normalised", first=None, fix="Both sides."),
    Mistake("cosines with the target not normalised", second=None, fix="Both sides."),
    Mistake("products of columns of length 1", first=0, second=0, fix="Rows have length 1: dim=-1."),
    Mistake("distances between the normalised rows", lambda a, b: torch.cdist(F.normalize(a), F.normalize(b))),
    Mistake("the absolute cosines", lambda a, b: cosine_reference(a, b).abs(), fix="Opposite is not alike."),
    Mistake("the cosines, transposed", lambda a, b: cosine_reference(a, b).T, fix="Reference patches are rows."),
]

NEAREST_MISTAKES = [
    Mistake("the nearest patch of every reference patch, marked or not", rows=False),
    Mistake("the nearest marked patch of each target patch: the other way round", axis=0),
    Mistake("the least similar patches", best=torch.argmin, fix="A cosine is large when alike."),
    Mistake("the nearest patches of those that are not marked", lambda c, m: c[~m].argmax(dim=1)),
    Mistake("the largest cosines themselves, not where they are", lambda c, m: c[m].amax(dim=1), fix="argmax."),
    Mistake("the right patches, in ascending order", lambda c, m: c[m].argmax(dim=1).sort().values),
]

TASKS = [
    Task("similarity", cosine_cases, reference=cosine_reference, flawed=flawed, mistakes=SIMILARITY_MISTAKES,
         like="torch.nn.functional.cosine_similarity", forbidden=("cosine_similarity",)),
    Task("nearest", nearest_cases, reference=nearest_reference, flawed=flawed_nearest, mistakes=NEAREST_MISTAKES,
         like="a loop over the marked patches"),
]


# %% hints
HINTS = [
    ("Cosines above 1", "Divide each row by its length, on both sides."),
    ("All pairs at once", "`a @ b.T` is (R, N) once the rows have length 1."),
    ("Only the marked ones", "`cosines[marked]` keeps the rows where marked is True; argmax goes along the targets."),
]
