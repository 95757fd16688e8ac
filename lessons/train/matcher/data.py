"""Pairs of scenes for segmentation by example, and how well patches find the object: lessons 5.2 and 5.3.

Two scenes share a class and nothing else is asked of them: another ground, another size and tilt, one to three other
stickers. `hard` ones are told apart by no size and hardly by colour. All pictures are enlarged to twice their size, so
that a sticker has 4 x 4 patches of 8 pixels or more.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lessons.stickers.questions import one_shot_pair
from lessons.stickers.scenes import draw
from lessons.stickers.sheet import CLASSES
from lessons.stickers.splits import Split
from minimodels import matcher
from minimodels.patch_features import PatchFeatures
from minimodels.stored import models

TIMES = 2  # how much a scene of 64 pixels is enlarged
BLOCK = 1  # tiny-clip's second of four: it matches best


class Pair(NamedTuple):
    """A reference with its object marked, and a target with where the same class is. Pixels 0-1."""

    name: str
    reference: Float[Tensor, "3 side side"]
    mask: Float[Tensor, "side side"]
    target: Float[Tensor, "3 side side"]
    right: Bool[Tensor, "side side"]
    others: Bool[Tensor, "side side"]  # the other stickers of the target


def enlarge(pixels: np.ndarray) -> Float[Tensor, "3 side side"]:
    """A scene (H, W, 3) uint8 as pixels 0-1, `TIMES` as large."""
    image = rearrange(torch.from_numpy(pixels), "h w c -> 1 c h w").float() / 255
    return F.interpolate(image, scale_factor=TIMES, mode="bilinear", align_corners=False)[0]


def grow(mask: np.ndarray) -> Bool[Tensor, "side side"]:
    """A mask as large, every pixel four times."""
    return torch.from_numpy(mask).repeat_interleave(TIMES, dim=0).repeat_interleave(TIMES, dim=1)


def make_pair(number: int, split: Split, hard: bool = False) -> Pair:
    """Pair `number` of a split."""
    (scene, chosen), (other_scene, other) = one_shot_pair(number, split, hard)
    (picture, owner), (target, target_owner) = draw(scene), draw(other_scene)
    right = target_owner == other + 1
    masks = grow(owner == chosen + 1).float(), grow(right), grow((target_owner > 0) & ~right)
    name = CLASSES[scene.stickers[chosen].kind]
    return Pair(name, enlarge(picture), masks[0], enlarge(target), masks[1], masks[2])


class ClipFeatures(PatchFeatures):
    """Patch features of a tiny model, of pictures with pixels 0-1."""

    def __init__(self, name: str = "tiny-clip", block: int = BLOCK):
        model = models.load(name)
        super().__init__(model, block)
        self.mean, self.std = model.preprocess.mean, model.preprocess.std


@torch.no_grad()
def describe(features: nn.Module, images: list[Tensor]) -> Float[Tensor, "images patches dim"]:
    """Patch features of pictures with pixels 0-1."""
    stacked = torch.stack(images)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (features.mean, features.std))
    return torch.cat([features.patch_features(part) for part in ((stacked - mean) / std).split(16)])


def middles(mask: Bool[Tensor, "side side"], patch_size: int) -> Bool[Tensor, "patches"]:
    """Whether the pixel in the middle of each patch is the mask's: where a click would land."""
    half = patch_size // 2
    return mask[half::patch_size, half::patch_size].flatten()


def ways(similarity: Float[Tensor, "R N"], marked: Bool[Tensor, "R"]) -> dict[str, Int[Tensor, "pairs"]]:
    """Target patches that four ways of matching give for the marked reference patches."""
    found = matcher.match_patches(similarity, marked)
    rows = torch.where(marked)[0]
    nearest, back = similarity[rows].argmax(dim=1), similarity.argmax(dim=0)
    return {
        "nearest": nearest,
        "mutual": nearest[back[nearest] == rows],
        "assigned": found.target,
        "assigned, and back": found.target[found.retained],
    }


class Share(NamedTuple):
    """Of the matches of many pairs."""

    matches: float  # a pair, on average
    right: float  # share of them on the right object
    different: float  # patches of the right object that were reached, a pair, each counted once


def measure_ways(similarities: list[Tensor], pairs: list[Pair], patch_size: int) -> dict[str, Share]:
    """How many matches each way gives, and how many of them are right."""
    sums: dict[str, np.ndarray] = {}
    for similarity, pair in zip(similarities, pairs):
        marked = matcher.mark_patches(pair.mask[None], patch_size)[0]
        right = middles(pair.right, patch_size)
        for name, target in ways(similarity, marked).items():
            hits = target[right[target]]
            sums[name] = sums.get(name, 0) + np.array([len(target), len(hits), len(hits.unique())])
    return {
        name: Share(total / len(pairs), hits / max(total, 1), different / len(pairs))
        for name, (total, hits, different) in sums.items()
    }


def best_patch(similarities: list[Tensor], pairs: list[Pair], patch_size: int) -> float:
    """Share of pairs whose most similar target patch is on the right object."""
    hits = 0
    for similarity, pair in zip(similarities, pairs):
        marked = matcher.mark_patches(pair.mask[None], patch_size, 0.5)[0]
        if not marked.any():
            marked = matcher.mark_patches(pair.mask[None], patch_size)[0]
        hits += bool(middles(pair.right, patch_size)[similarity[marked].amax(dim=0).argmax()])
    return hits / len(pairs)
