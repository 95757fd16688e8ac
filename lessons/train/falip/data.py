"""Scenes with given boxes, the ways to show a box to a CLIP, and simple shapes as point clouds: lesson 3.10."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lessons.stickers import refer
from lessons.stickers.scenes import GRID, Dice, Scene, draw, random_scene
from lessons.stickers.splits import Split
from lessons.train.measures import normalized
from minimodels.falip import FoveatedCLIP, foveal_masks, on_one_head
from minimodels.pixels.box_prompts import blur_outside, circle, cut_out

KINDS = ("class", "attribute", "relation", "place", "extreme")
START = 700_000  # scenes that no other exam draws
Box = tuple[int, int, int, int]


class Case(NamedTuple):
    """A picture (64, 64, 3) uint8 with the box of each of its stickers; what is asked, and which box it means."""

    image: np.ndarray
    scene: Scene
    boxes: list[Box]
    text: str = ""
    target: int = -1


def sticker_boxes(owner: np.ndarray, count: int) -> list[Box] | None:
    """The boxes around what is visible of each sticker, from edge to edge; None where one is hidden."""
    boxes: list[Box] = []
    for number in range(1, count + 1):
        rows, columns = np.where(owner == number)
        if not len(rows):
            return None
        boxes.append((int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1))
    return boxes


def sentence(text: str) -> str:
    """An expression as captions speak: "a dog left of a tree"."""
    return text.replace("the ", "a ")


def expressions(kind: str, split: Split, count: int, start: int = START) -> list[Case]:
    """Referring expressions of one kind in scenes of two to four stickers, every second one hard."""
    cases: list[Case] = []
    number = start
    while len(cases) < count:
        asked = refer.expression(number, split, kind, number % 2 == 1)
        number += 1
        image, owner = draw(asked.scene)
        boxes = sticker_boxes(owner, len(asked.scene.stickers))
        if boxes and len(boxes) > 1:
            cases.append(Case(image, asked.scene, boxes, sentence(asked.text), asked.target))
    return cases


def crowds(split: Split, count: int, start: int = START + 100_000) -> list[Case]:
    """Scenes of two to four stickers of different classes, every second one hard: what is in each box?"""
    cases: list[Case] = []
    number = start
    while len(cases) < count:
        dice = Dice(split.seed(number))
        scene = random_scene(dice, split, dice.between(2, 4), hard=number % 2 == 1)
        number += 1
        image, owner = draw(scene)
        if boxes := sticker_boxes(owner, len(scene.stickers)):
            cases.append(Case(image, scene, boxes))
    return cases


# ---------------------------------------------------------------- ways to show a box

Way = Callable[..., Float[Tensor, "boxes embed_dim"]]


def by_falip(model: Any, case: Case, *, alpha: float, first: int | None, head: int | None = None) -> Tensor:
    """Embeddings of the whole picture, looked at where each box is."""
    tower = model.image_tower
    masks = foveal_masks(case.boxes, (GRID, GRID), tower.image_size, tower.patch_size, alpha).float()
    if head is not None:
        masks = on_one_head(masks, head, tower.blocks[0].attn.num_heads)
    return FoveatedCLIP(model, first).encode_image(normalized(case.image[None]), masks)


def by_pictures(model: Any, case: Case, change: Callable[[Image.Image, Box], Image.Image]) -> Tensor:
    """Embeddings of a picture for each box."""
    picture = Image.fromarray(case.image)
    made = [change(picture, box).resize((GRID, GRID), Image.Resampling.BICUBIC) for box in case.boxes]
    return model.encode_image(normalized(np.stack([np.array(one) for one in made])))


def by_crop(model: Any, case: Case, *, margin: float) -> Tensor:
    return by_pictures(model, case, lambda picture, box: cut_out(picture, box, margin))


def by_circle(model: Any, case: Case, *, width: float) -> Tensor:
    return by_pictures(model, case, lambda picture, box: circle(picture, box, width))


def by_blur(model: Any, case: Case, *, sigma: float) -> Tensor:
    return by_pictures(model, case, lambda picture, box: blur_outside(picture, box, sigma))


def by_whole(model: Any, case: Case) -> Tensor:
    """The picture as it is, for every box."""
    return model.encode_image(normalized(case.image[None])).expand(len(case.boxes), -1)


WAYS: dict[str, tuple[Way, list[dict[str, Any]]]] = {
    "FALIP": (by_falip, [{"alpha": a, "first": f} for f in range(4) for a in (0.2, 1.0, 2.0, 4.0, 8.0)]),
    "crop": (by_crop, [{"margin": m} for m in (0.0, 0.1, 0.2, 0.4)]),
    "red circle": (by_circle, [{"width": w} for w in (0.01, 0.02, 0.04)]),
    "blur": (by_blur, [{"sigma": s} for s in (0.04, 0.08, 0.16, 0.32)]),
}  # each with the settings that the validation split chooses among


# ---------------------------------------------------------------- point clouds


def on_circle(angle: Tensor) -> tuple[Tensor, Tensor]:
    return angle.cos(), angle.sin()


def shape(name: str, count: int = 1024, seed: int = 0) -> Float[Tensor, "points 3"]:
    """Points on the surface of a simple shape (P, 3) float64, centred, within a sphere of radius 1."""
    dice = torch.Generator().manual_seed(seed)
    u, v, w = torch.rand(3, count, generator=dice, dtype=torch.float64)
    x, y = on_circle(2 * math.pi * u)
    if name == "sphere":
        z = 2 * v - 1
        points = torch.stack([x * (1 - z**2).sqrt(), y * (1 - z**2).sqrt(), z], dim=1)
    elif name == "cube":
        points = torch.stack([2 * u - 1, 2 * v - 1, (w > 0.5).double() * 2 - 1], dim=1)
        turn = torch.randint(3, (count,), generator=dice)
        points = torch.stack([points[torch.arange(count), (axis + turn) % 3] for axis in range(3)], dim=1)
    elif name == "cylinder":
        radius = torch.where(w < 0.3, v.sqrt(), 1.0)  # three in ten points lie on the two lids
        height = torch.where(w < 0.15, -1.0, torch.where(w < 0.3, 1.0, 2 * v - 1))
        points = torch.stack([radius * x * 0.6, radius * y * 0.6, height], dim=1)
    elif name == "cone":
        radius = v.sqrt()
        height = torch.where(w < 0.3, -1.0, 1 - 2 * radius)
        points = torch.stack([radius * x * 0.8, radius * y * 0.8, height], dim=1)
    else:
        a, b = on_circle(2 * math.pi * v)
        points = torch.stack([(0.7 + 0.3 * a) * x, (0.7 + 0.3 * a) * y, 0.3 * b], dim=1)
    return points / points.norm(dim=1).max()


SHAPES: Sequence[str] = ("sphere", "cube", "cylinder", "cone", "torus")
