"""One round of k-means  (10 minutes, difficulty 2 of 5)

Each point belongs to the nearest centre; each centre moves to the mean of its
points. A centre without points stays where it is. Do one round.

    {"nearest": (K) int64, "centers": (C, 2)}
"""

import torch


# %% solution
def k_means_step(points, centers):
    """points (K, 2), centers (C, 2) -> dict: which centre each point belongs to, and the moved centres."""
    nearest = torch.cdist(points, centers).argmin(dim=1)
    moved = centers.clone()
    for c in range(len(centers)):
        if (nearest == c).any():
            moved[c] = points[nearest == c].mean(dim=0)
    return {"nearest": nearest, "centers": moved}


# %% check: one round against loops
from lessons.checker import Mistake, Task


def cases(random):
    for count, clusters in [(10, 3), (8, 4), (15, 2)]:
        points = random(count, 2) * 20
        lonely = torch.tensor([[500.0, 500.0]], dtype=torch.float64)  # a centre that no point belongs to
        yield {"points": points, "centers": torch.cat([points[:clusters] + random(clusters, 2), lonely])}


def reference(points, centers):
    nearest, moved = [], []
    for x, y in points.tolist():
        squares = [(x - a) ** 2 + (y - b) ** 2 for a, b in centers.tolist()]
        nearest.append(squares.index(min(squares)))
    for number, old in enumerate(centers.tolist()):
        own = [point for point, c in zip(points.tolist(), nearest) if c == number]
        moved.append([sum(axis) / len(own) for axis in zip(*own)] if own else old)
    return {"nearest": torch.tensor(nearest), "centers": torch.tensor(moved, dtype=torch.float64)}


def flawed(points, centers, empty="stay", middle="mean", axis=1, own=True):
    apart = torch.cdist(points, centers)
    nearest = apart.argmin(dim=1) if axis == 1 else apart.argmax(dim=1)
    moved = centers.clone()
    for c in range(len(centers)):
        mine = points[nearest == c]
        if len(mine) == 0:
            moved[c] = {"stay": centers[c], "zero": centers[c] * 0, "middle": points.mean(dim=0)}[empty]
        elif middle == "mean":
            moved[c] = mine.mean(dim=0)
        elif middle == "median":
            moved[c] = mine.median(dim=0).values
        elif middle == "with centre":
            moved[c] = torch.cat([mine, centers[c : c + 1]]).mean(dim=0)
        elif middle == "halfway":
            moved[c] = (mine.mean(dim=0) + centers[c]) / 2
        else:
            moved[c] = mine.sum(dim=0)
    return {"nearest": nearest, "centers": moved}


MISTAKES = [
    Mistake("the right round, but a centre without points goes to 0", empty="zero", fix="It stays."),
    Mistake("the right round, but a centre without points goes to the middle of all", empty="middle", fix="It stays."),
    Mistake("the sum of the points instead of their mean", middle="sum", fix="Divide by their number."),
    Mistake("the median of the points instead of their mean", middle="median", fix="The mean."),
    Mistake("the mean with the old centre counted in", middle="with centre", fix="Only its points."),
    Mistake("half a step towards the mean", middle="halfway", fix="The whole step."),
    Mistake("each point given to the farthest centre", axis=0, fix="argmin."),
]

TASKS = [
    Task("k_means_step", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="loops over points and centres"),
]


# %% hints
HINTS = [
    ("Who belongs where", "`torch.cdist(points, centers)` is (K, C): argmin along the centres."),
    ("NaN", "The mean of no point is NaN: keep the old centre where no point belongs to it."),
    ("The mean", "`points[nearest == c].mean(dim=0)` for each centre c."),
]
