"""k-means++: where the next centre may be  (10 minutes, difficulty 2 of 5)

k-means goes wrong when two first centres lie in one cluster. k-means++ draws
each further centre among the points, and a point's chance grows with the
square of its distance to the nearest centre chosen so far. Give the chances;
they sum to 1. (Matcher adds 1e-6 to the distances, so that not all of them
are 0; leave that out here.)
"""

import torch


# %% solution
def center_chances(points, centers):
    """points (K, 2), centers (C, 2) chosen so far -> (K) the chance of each point to be the next one."""
    near = (points[:, None] - centers[None]).norm(dim=-1).min(dim=1).values
    return near**2 / (near**2).sum()


# %% check: chances against a loop
import math

from lessons.checker import Mistake, Task


def cases(random):
    for count, chosen in [(6, 1), (9, 3), (12, 4), (5, 2)]:
        points = random(count, 2) * 30
        yield {"points": points, "centers": points[:chosen].clone()}


def reference(points, centers):
    squares = []
    for x, y in points.tolist():
        squares.append(min((x - a) ** 2 + (y - b) ** 2 for a, b in centers.tolist()))
    total = math.fsum(squares)
    return torch.tensor([square / total for square in squares], dtype=torch.float64)


def flawed(points, centers, nearest="min", power=2, norm=2, total=True, over=None):
    apart = torch.linalg.vector_norm(points[:, None] - centers[None], ord=norm, dim=-1)
    near = {"min": apart.amin(dim=1), "max": apart.amax(dim=1), "mean": apart.mean(dim=1), "last": apart[:, -1]}
    weight = near[nearest] ** power
    return weight / weight.sum() if total else weight


MISTAKES = [
    Mistake("chances by the distance, not its square", power=1, fix="Square the distances."),
    Mistake("chances by the distance to the farthest centre", nearest="max", fix="The nearest counts."),
    Mistake("chances by the mean distance to the centres", nearest="mean", fix="The nearest counts."),
    Mistake("chances by the distance to the last centre", nearest="last", fix="To the nearest of all."),
    Mistake("the squared distances, which do not sum to 1", total=False, fix="Divide by their sum."),
    Mistake("chances by sums of coordinate differences", norm=1, fix="The straight distance."),
    Mistake("a softmax of the squared distances", lambda p, c: torch.cdist(p, c).amin(1).square().softmax(0)),
]

TASKS = [
    Task("center_chances", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="a loop over the points"),
]


# %% hints
HINTS = [
    ("All distances", "`points[:, None] - centers[None]` is (K, C, 2); its norm along the last axis is (K, C)."),
    ("The nearest centre", "`.min(dim=1).values`: far from one centre counts for nothing if another one is near."),
    ("They do not sum to 1", "Divide by the sum, at the very end."),
]
