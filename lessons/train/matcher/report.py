"""What `python -m lessons.train matcher --evaluate` prints: what Matcher's stages add on Sticker World.

The mean IoU of one shot on pairs of unseen scenes, the same without one stage after the other, and how often an object
that the target does not show is called not found.
"""

import hashlib
import random
from typing import Any

import torch
from torch import Tensor

from lessons.stickers.questions import one_shot_pair
from lessons.stickers.splits import TEST, Split
from lessons.train.matcher.data import Pair, make_pair
from minimodels import matcher
from minimodels.matcher import Matcher, Result
from minimodels.stored import models, tiny_matcher
from minimodels.terminal.parser import whole_number

BAR = 0.70
OPTIONS = {"pairs": {"type": whole_number, "default": 200, "help": "pairs of each kind (default 200)"}}
STAGES = {
    "matched patches, one way": "no SAM: every nearest patch, painted",
    "matched patches, there and back": "no SAM: every returned patch, painted",
    "one click, surest mask": "SAM at the best matched point, by predicted IoU",
    "all points at once": "SAM asked once with all matched points",
    "sampled, surest mask": "point sets; the mask SAM is surest of",
    "sampled, EMD": "point sets; 1 - EMD alone chooses",
    "sampled, EMD, purity, coverage": "and how the points lie in the mask",
    "whole": "and near-best masks merged",
    "whole, without the way back": "all forward matches as points",
    "best proposal": "an oracle chooses: what SAM could have given",
}


def mask_iou(mask: Tensor, right: Tensor) -> float:
    """Intersection over union of two masks; 0 where both are empty."""
    return float((mask & right).sum()) / max(1, int((mask | right).sum()))


def paint(patches: Tensor, side: int, patch_size: int) -> Tensor:
    """Patches as a mask."""
    grid = torch.zeros(side * side, dtype=torch.bool)
    grid[patches] = True
    large = grid.reshape(side, side).repeat_interleave(patch_size, dim=0)
    return large.repeat_interleave(patch_size, dim=1)


def surest(proposals: list, size: int) -> Tensor:
    """The mask with the largest predicted IoU."""
    if not proposals:
        return torch.zeros(size, size, dtype=torch.bool)
    return torch.from_numpy(max(proposals, key=lambda proposal: proposal.predicted_iou).mask)


def without_the_way_back(model: Matcher, found: Result, target: Tensor) -> Tensor:
    """The mask when all forward matches are points."""
    patches = found.matches.target
    points = matcher.patch_points(patches, target.shape[-1] // model.patch_size, model.patch_size)
    proposals = model.propose(target, matcher.prompt_sets(points, model.sizes, model.draws, random.Random(0)), None)
    masks = torch.stack([torch.from_numpy(proposal.mask) for proposal in proposals])
    cost = matcher.matching_cost(found.matches.similarity[found.marked])
    _, _, chosen = model.choose(matcher.score_masks(masks, points, cost, model.patch_size))
    return masks[chosen].any(dim=0)


def stages(model: Matcher, pair: Pair, found: Result) -> dict[str, float]:
    """The IoU after each stage, of one pair."""
    size, columns = pair.target.shape[-1], pair.target.shape[-1] // model.patch_size
    matches, totals = found.matches, found.totals
    nearest = matches.similarity[found.marked].argmax(dim=1)
    best = matches.target[matches.strength.masked_fill(~matches.retained, -2).argmax()]
    click = matcher.patch_points(best[None], columns, model.patch_size)
    masks = {
        "matched patches, one way": paint(nearest, columns, model.patch_size),
        "matched patches, there and back": paint(matches.patches, columns, model.patch_size),
        "one click, surest mask": surest(model.propose(pair.target, [click[None]], None), size),
        "all points at once": surest(model.propose(pair.target, [found.points[None]], None), size),
        "sampled, surest mask": surest(found.proposals, size),
        "sampled, EMD": found.masks[found.scores.emd.argmax()],
        "sampled, EMD, purity, coverage": found.masks[totals.argmax()],
        "whole": found.mask,
        "whole, without the way back": without_the_way_back(model, found, pair.target),
    }
    ious = {name: mask_iou(mask, pair.right) for name, mask in masks.items()}
    return {**ious, "best proposal": max(mask_iou(mask, pair.right) for mask in found.masks)}


def absent_target(number: int, split: Split, hard: bool) -> Tensor:
    """The target of the next pair that does not show the class of this pair."""
    (scene, chosen), _ = one_shot_pair(number, split, hard)
    kind, other = scene.stickers[chosen].kind, number + 1
    while kind in [sticker.kind for sticker in one_shot_pair(other, split, hard)[1][0].stickers]:
        other += 1
    return make_pair(other, split, hard).target


def measure(model: Matcher, split: Split, count: int, hard: bool) -> dict[str, Any]:
    """Mean IoU after each stage, and the scores with the object there and absent."""
    sums, scores = dict.fromkeys(STAGES, 0.0), {"there": [], "absent": []}
    for number in range(count):
        pair = make_pair(number, split, hard)
        found = model(pair.reference[None], pair.mask[None], pair.target)
        for name, iou in stages(model, pair, found).items():
            sums[name] += iou / count
        absent = model(pair.reference[None], pair.mask[None], absent_target(number, split, hard))
        scores["there"].append(found.score)
        scores["absent"].append(absent.score)
    there, absent = (torch.tensor(scores[name]) for name in ("there", "absent"))
    return {
        "pairs": count,
        "iou": sums,
        "found where it is": float((there >= model.least_score).float().mean()),
        "not found where it is absent": float((absent < model.least_score).float().mean()),
        "told apart": float((there[:, None] > absent[None]).float().mean()),
        "scores": {"there": float(there.mean()), "absent": float(absent.mean())},
    }


def weights() -> dict[str, str]:
    """What the figures belong to: of each part the first digits of a sha256 over its stored tensors."""
    found = {}
    for name in tiny_matcher.PARTS:
        digest = hashlib.sha256()
        for key, tensor in sorted(models.load(name, dtype=torch.float16).state_dict().items()):
            digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
        found[name] = digest.hexdigest()[:16]
    return found


def report(device: str = "cpu", pairs: int = 200) -> tuple[dict[str, Any], bool]:
    """Print the table; give its figures, and whether the bar is met."""
    model = tiny_matcher.load(device)
    figures: dict[str, Any] = {"weights": weights()}
    for kind in ("easy", "hard"):
        figures[kind] = measure(model, TEST, pairs, kind == "hard")
    for name in STAGES:
        print(f"{name:34} {figures['easy']['iou'][name]:.3f} {figures['hard']['iou'][name]:.3f}   {STAGES[name]}")
    for name in ("found where it is", "not found where it is absent", "told apart"):
        print(f"{name:34} {figures['easy'][name]:.3f} {figures['hard'][name]:.3f}")
    whole = min(figures[kind]["iou"]["whole"] for kind in ("easy", "hard"))
    print(f"one shot mIoU, easy and hard, at least {BAR}: {'met' if whole >= BAR else 'MISSED'}")
    return figures, whole >= BAR
