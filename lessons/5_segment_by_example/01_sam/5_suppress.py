"""One mask a thing  (15 minutes, difficulty 3 of 5)

A grid of clicks finds the same thing many times. Non-maximum suppression keeps
the best: take the box with the highest score, drop every other box that
overlaps it by an IoU of more than the threshold, take the best of what is
left, and so on (like `torchvision.ops.nms`). Boxes are x0, y0, x1, y1; a box
is x1 - x0 wide. Of equal scores the earlier box comes first.
"""

import torch


# %% solution
def suppress(boxes, scores, threshold):
    """boxes (N, 4), scores (N), threshold -> numbers of the boxes that are kept, int64, by falling score."""
    kept = []
    for number in scores.argsort(descending=True, stable=True).tolist():
        if all(overlap(boxes[number], boxes[other]) <= threshold for other in kept):
            kept.append(number)
    return torch.tensor(kept)


def overlap(a, b):
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return sides.prod() / (areas[0] + areas[1] - sides.prod())


# %% check: torchvision's nms
from lessons.checker import Mistake, Task


def cases(random):
    chain = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [30, 30, 40, 44], [31, 31, 40, 44]])
    chain = torch.cat([chain, torch.tensor([[25.0, 17, 35, 27]])]).double()  # the last one meets no other
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.95, 0.3]).double()
    yield {"boxes": chain, "scores": scores, "threshold": 0.3}
    inside = torch.tensor([[0.0, 0, 20, 20], [5, 5, 12, 12], [21, 0, 29, 8], [20, 1, 28, 9], [0, 0, 19, 20]]).double()
    yield {"boxes": inside, "scores": torch.tensor([0.5, 0.9, 0.4, 0.4, 0.6]).double(), "threshold": 0.5}
    corners = random(30, 2, 2) * 4
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 2], dim=1)
    yield {"boxes": boxes, "scores": random(30), "threshold": 0.4}


def reference(boxes, scores, threshold):
    from torchvision.ops import nms

    return nms(boxes, scores, threshold)


def flawed(boxes, scores, threshold, order="falling", against="kept", part="union", wide=0, keep="below", sort=False):
    def share(a, b):
        sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2]) + wide).clamp(min=0)
        areas = [(box[2] - box[0] + wide) * (box[3] - box[1] + wide) for box in (a, b)]
        whole = areas[0] + areas[1] - sides.prod()
        whole = min(areas) if part == "smaller" else areas[0] + areas[1] if part == "sum" else whole
        return sides.prod() / whole

    ranked = scores.argsort(descending=order == "falling", stable=True).tolist()
    ranked = list(range(len(boxes))) if order == "given" else ranked
    kept, seen = [], []
    for number in ranked:
        others = [share(boxes[number], boxes[other]) for other in (kept if against == "kept" else seen)]
        if all(one <= threshold if keep == "below" else one == 0 for one in others):
            kept.append(number)
        seen.append(number)
    return torch.tensor(sorted(kept) if sort else kept)


def unclamped(boxes, scores, threshold):
    """Two negative sides make a positive area."""
    kept = []
    for number in scores.argsort(descending=True, stable=True).tolist():
        low, high = torch.maximum(boxes[number, :2], boxes[kept, :2]), torch.minimum(boxes[number, 2:], boxes[kept, 2:])
        shared = (high - low).prod(dim=1)
        areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (boxes[number], boxes[kept])]
        if not (shared / (areas[0] + areas[1] - shared) > threshold).any():
            kept.append(number)
    return torch.tensor(kept)


MISTAKES = [
    Mistake("suppression in which dropped boxes still drop others", against="seen",
            fix="Compare with the kept boxes only."),
    Mistake("suppression that begins with the worst", order="rising", fix="By falling score."),
    Mistake("suppression in the order of the boxes", order="given", fix="Sort by score first."),
    Mistake("suppression by the share of the smaller box", part="smaller", fix="IoU: divide by the union of both."),
    Mistake("suppression by the share of both areas' sum", part="sum",
            fix="What both share is counted twice in the sum: subtract it once."),
    Mistake("suppression with boxes a pixel wider", wide=1, fix="A box is x1 - x0 wide, without + 1."),
    Mistake("suppression of whatever touches", keep="apart", fix="Only above the threshold."),
    Mistake("the kept boxes in ascending order", sort=True, fix="By falling score, as they were kept."),
    Mistake("suppression without a clamp: boxes that do not meet overlap", unclamped,
            fix="A side that is negative counts as 0."),
]

TASKS = [
    Task("suppress", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="torchvision.ops.nms",
         forbidden=("nms", "batched_nms")),
]


# %% hints
HINTS = [
    ("In which order?", "`scores.argsort(descending=True, stable=True)`; then a loop over it."),
    ("Overlap",
     "The shared box begins at the larger x0 and ends at the smaller x1; `.clamp(min=0)` where they do not meet."),
    ("A dropped box drops nobody", "Compare with the boxes that were kept, not with all before."),
]
