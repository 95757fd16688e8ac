"""Purity and coverage  (10 minutes, difficulty 2 of 5)

How many matched points lie inside a proposed mask? Coverage divides that by
the number of points: a mask of everything has all of it. Purity divides it by
the number of patches that the mask touches (one pixel is enough), at least 1:
a mask of everything has little.

    {"purity": a float, "coverage": a float}
"""

import torch


# %% solution
def purity_coverage(mask, points, patch_size):
    """mask (H, W) bool, points (K, 2) int64 as (x, y), patch_size divides H and W -> dict of two floats."""
    inside = mask[points[:, 1], points[:, 0]].sum().item()
    patches = torch.nn.functional.max_pool2d(mask[None].double(), patch_size).sum().item()
    return {"purity": inside / max(patches, 1), "coverage": inside / len(points)}


# %% check: both shares against loops over points and pixels
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for rows, columns, size, count in [(5, 5, 4, 7), (4, 6, 3, 9), (6, 6, 2, 12)]:
        height, width = rows * size, columns * size
        blob = F.interpolate(random(1, 1, 3, 3), (height, width), mode="bilinear")[0, 0] > 0
        speck = random(height, width) > 2.3
        x, y = random.integers(0, width, count), random.integers(0, height, count)
        yield {"mask": blob | speck, "points": torch.stack([x, y], dim=1), "patch_size": size}
    yield {"mask": torch.zeros(6, 6, dtype=torch.bool), "points": random.integers(0, 6, 5, 2), "patch_size": 3}


def reference(mask, points, patch_size):
    inside = sum(bool(mask[y, x]) for x, y in points.tolist())
    touched = {(y // patch_size, x // patch_size) for y, x in mask.nonzero().tolist()}
    return {"purity": inside / max(len(touched), 1), "coverage": inside / len(points)}


def flawed(mask, points, patch_size, area="touched", least=1, flip=False, swapped=False, coverage="points"):
    x, y = points[:, 0] % mask.shape[1], points[:, 1] % mask.shape[0]
    if flip:
        x, y = points[:, 1] % mask.shape[1], points[:, 0] % mask.shape[0]
    inside = mask[y, x].sum().item()
    share = F.avg_pool2d(mask[None].double(), patch_size)
    touched = (share > 0).sum().item()
    areas = {"touched": touched, "pixels": mask.sum().item(), "half": (share >= 0.5).sum().item()}
    areas |= {"all": share.numel(), "area": share.sum().item()}
    purity = inside / max(areas[area], least)
    shares = {"points": inside / len(points), "outside": 1 - inside / len(points), "patches": inside / share.numel()}
    found = (purity, shares[coverage])
    return dict(zip(("purity", "coverage"), reversed(found) if swapped else found))


MISTAKES = [
    Mistake("the points read as (y, x)", flip=True, fix="mask[y, x]."),
    Mistake("purity by pixels, not by patches", area="pixels", fix="Count the patches it touches."),
    Mistake("purity by patches that are half covered", area="half", fix="One pixel is enough."),
    Mistake("purity by the area in patches", area="area", fix="A patch touched counts whole."),
    Mistake("purity by all patches of the picture", area="all", fix="Those of the mask."),
    Mistake("purity and coverage swapped", swapped=True),
    Mistake("the share of points left outside for coverage", coverage="outside"),
]

TASKS = [
    Task("purity_coverage", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="loops over points and pixels"),
]


# %% hints
HINTS = [
    ("Inside?", "`mask[points[:, 1], points[:, 0]]`: rows first, so y before x."),
    ("Patches touched", "`torch.nn.functional.max_pool2d(mask[None].float(), patch_size)` is 1 where a pixel is."),
    ("Division by zero", "An empty mask touches no patch: divide by at least 1."),
]
