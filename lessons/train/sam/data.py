"""What tiny SAM trains on: scenes, several things meant in each, and the clicks and boxes that point at them.

Kirillov et al. 2023, appendix A ("Training algorithm"): clicks are drawn evenly from the mask, boxes are shaken a
little. A click on a sticker may mean the sticker, the patch of one colour that was hit, or all stickers together.
"""

from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from lessons.stickers.scenes import Dice, draw, random_scene
from lessons.stickers.splits import TRAIN, Split
from minimodels.pixels.preprocess import CLIP_MEAN, CLIP_STD
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam import NEGATIVE, POSITIVE

CLICKED, BOXED = 3, 3  # prompts of each kind a scene
MOST_POINTS = 5  # clicks of one prompt
PART, GROUP, GROUND = 0.15, 0.12, 0.08  # how often a click means less, more, or the background
ALIKE = 40  # levels of each colour by which the pixels of one patch may differ from the one clicked
LEAST = 12  # visible pixels of anything that is asked for
ASIDE = 4 * 10**11  # prompts are drawn from seeds of a split that its scenes do not reach
SIZE = 64  # pixels a side
PREPROCESS = PaddedPreprocess(SIZE, mean=tuple(255 * mean for mean in CLIP_MEAN), std=tuple(255 * s for s in CLIP_STD))
MEAN, STD = (torch.tensor(numbers).view(3, 1, 1) for numbers in (PREPROCESS.mean, PREPROCESS.std))


class Asked(NamedTuple):
    """What is meant by each prompt of a batch of B scenes: P by clicks, Q by boxes; (x, y) in pixels."""

    images: np.ndarray  # (B, H, W, 3) uint8
    points: Float[Tensor, "scenes clicked points 2"]
    clicked: Bool[Tensor, "scenes clicked height width"]
    boxes: Float[Tensor, "scenes boxed 4"]
    boxed: Bool[Tensor, "scenes boxed height width"]


def normalized(images) -> Float[Tensor, "batch 3 height width"]:
    """Pictures (B, H, W, 3) uint8 as the model reads them; they need no padding, they have its size."""
    return (rearrange(torch.from_numpy(images), "b h w c -> b c h w").float() - MEAN) / STD


def scene(number: int, split: Split = TRAIN) -> tuple[np.ndarray, np.ndarray]:
    """Picture (64, 64, 3) uint8 and owner of each pixel of scene `number`: one to four stickers, every third hard."""
    dice = Dice(split.seed(number))
    return draw(random_scene(dice, split, dice.between(1, 4), hard=number % 3 == 0))


def batch(numbers: range, points: int, split: Split = TRAIN) -> Asked:
    """Scenes by their numbers, each prompt by `points` clicks or by a box."""
    images, clicks, clicked, boxes, boxed = [], [], [], [], []
    for number in numbers:
        picture, owner = scene(number, split)
        chance = np.random.Generator(np.random.PCG64(split.seed(ASIDE + number)))
        images.append(picture)
        for _ in range(CLICKED):
            mask, place = meant(chance, picture, owner, alone=points == 1)
            clicked.append(mask)
            clicks.append(more_points(chance, mask, place, points))
        for _ in range(BOXED):
            mask, _ = meant(chance, picture, owner, alone=False)
            boxed.append(mask)
            boxes.append(shaken(chance, box_of(mask)))
    count, size = len(images), images[0].shape[:2]
    return Asked(
        np.stack(images),
        torch.tensor(np.array(clicks), dtype=torch.float32).view(count, CLICKED, points, 2),
        torch.from_numpy(np.array(clicked)).view(count, CLICKED, *size),
        torch.tensor(np.array(boxes), dtype=torch.float32).view(count, BOXED, 4),
        torch.from_numpy(np.array(boxed)).view(count, BOXED, *size),
    )


def meant(
    chance: np.random.Generator, picture: np.ndarray, owner: np.ndarray, *, alone: bool
) -> tuple[np.ndarray, tuple[int, int]]:
    """A mask and a pixel (x, y) of it: a sticker most of the time; part, group or background where a click stands
    `alone` and may mean any of them, and rarely a group or the background otherwise."""
    kind, stickers = chance.random(), visible(owner)
    if kind < GROUND or not stickers:
        mask = owner == 0
        return mask, any_pixel(chance, mask)
    sticker = stickers[int(chance.random() * len(stickers))]
    mask = owner == sticker
    x, y = any_pixel(chance, mask)
    if kind < GROUND + GROUP and len(stickers) > 1:
        mask = owner > 0
    elif alone and kind < GROUND + GROUP + PART:
        part = patch(picture, mask, (x, y))
        share = part.sum() / mask.sum()
        mask = part if part.sum() >= LEAST and 0.15 < share < 0.75 else mask
    return mask, (x, y)


def visible(owner: np.ndarray) -> list[int]:
    """The stickers of which enough can be seen."""
    return [sticker for sticker in range(1, int(owner.max()) + 1) if (owner == sticker).sum() >= LEAST]


def patch(picture: np.ndarray, mask: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """The part of a mask around a pixel (x, y) whose colours are like its own."""
    x, y = place
    near = (np.abs(picture.astype(np.int16) - picture[y, x].astype(np.int16)) <= ALIKE).all(axis=-1) & mask
    regions, _ = ndimage.label(near)
    return regions == regions[y, x]


def any_pixel(chance: np.random.Generator, mask: np.ndarray) -> tuple[int, int]:
    """(x, y) of a pixel of the mask, all equally likely."""
    places = np.flatnonzero(mask)
    y, x = divmod(int(places[int(chance.random() * len(places))]), mask.shape[1])
    return x, y


def more_points(chance: np.random.Generator, mask: np.ndarray, place: tuple[int, int], count: int) -> list:
    """The first click and others on the same mask."""
    return [place, *(any_pixel(chance, mask) for _ in range(count - 1))]


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the first and last pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1], rows[-1]


def shaken(chance: np.random.Generator, box: tuple[int, int, int, int]) -> np.ndarray:
    """Each side moved by noise of a twentieth of the box, at most two pixels: nobody draws an exact box."""
    x0, y0, x1, y1 = box
    noise = chance.standard_normal(4) * 0.05 * np.array([x1 - x0, y1 - y0] * 2)
    return np.array(box) + noise.clip(-2, 2)


def middle(mask: np.ndarray) -> tuple[int, int]:
    """(x, y) of the pixel that lies deepest inside: where a person would click."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = divmod(int(depth.argmax()), mask.shape[1])
    return x, y


# section: correct
def correct(
    answer: Bool[Tensor, "scenes prompts height width"],
    wanted: Bool[Tensor, "scenes prompts height width"],
    chance: torch.Generator,
) -> tuple[Float[Tensor, "scenes prompts 1 2"], Tensor]:
    """One more click (x, y) where the answer is wrong, label 1 where it misses and 0 where it spills over.

    A perfect answer gets another click inside.
    """
    wrong = (answer != wanted).flatten(0, 1).flatten(1).float().cpu()  # (B P, H W)
    inside = wanted.flatten(0, 1).flatten(1).float().cpu()
    weights = torch.where(wrong.any(dim=1, keepdim=True), wrong, inside)
    place = torch.multinomial(weights, 1, generator=chance)  # (B P, 1)
    label = torch.where(inside.gather(1, place) > 0, POSITIVE, NEGATIVE)
    width = answer.shape[-1]
    point = torch.stack([place % width, place // width], dim=-1).float()  # (B P, 1, 2)
    shape = answer.shape[:2]
    return point.unflatten(0, shape).to(answer.device), label.unflatten(0, shape).to(answer.device)


# end: correct
