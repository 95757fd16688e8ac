"""Sets of pictures with known answers, made from a split's own seeds, on which models and shortcuts are measured."""

from typing import NamedTuple

import numpy as np

from .captions import GROUND_WORDS, caption, describe, relation, with_article
from .scenes import GRID, Dice, Scene, cast_coloured, compose, draw, new_sticker, random_scene, scatter, single_scene
from .sheet import CLASSES, COLOURABLE, COLOURS, OWN_COLOUR, SIZES
from .splits import GROUNDS, TRAIN, Split
from .textures import BACKGROUNDS


class Singles(NamedTuple):
    """Scenes of one sticker: pictures (N, 64, 64, 3) uint8, and class and size numbers (N,)."""

    images: np.ndarray
    kinds: np.ndarray
    sizes: np.ndarray
    scenes: list[Scene]


class Pairs(NamedTuple):
    """Pictures (N, 64, 64, 3) uint8 with the right caption of each, and in some exams a wrong one, `swapped`."""

    images: np.ndarray
    captions: list[str]
    scenes: list[Scene]
    swapped: list[str]


def pictures(scenes: list[Scene], size: int = GRID) -> np.ndarray:
    """Draw them all: (N, size, size, 3) uint8."""
    images = np.empty((len(scenes), size, size, 3), np.uint8)
    for scene, image in zip(scenes, images):
        draw(scene, size, image)
    return images


def singles(split: Split, rounds: int, start: int = 0) -> Singles:
    """Every class in every size, `rounds` times, in own colours; for HELD_OUT the held-out class-background pairs."""
    kinds = [kind for kind, _ in GROUNDS] if split.held_out else range(len(CLASSES))
    asked = [(kind, size) for _ in range(rounds) for kind in kinds for size in range(len(SIZES))]
    scenes = [single_scene(Dice(split.seed(start + n)), split, kind, size) for n, (kind, size) in enumerate(asked)]
    return Singles(pictures(scenes), np.array([k for k, _ in asked]), np.array([s for _, s in asked]), scenes)


def recoloured(split: Split, rounds: int, start: int = 500_000) -> Singles:
    """The classes that come in several colours, each in the four that are not its own, in every size."""
    asked = [
        (kind, colour, size)
        for _ in range(rounds)
        for kind in COLOURABLE
        for colour in range(1, len(COLOURS))
        for size in range(len(SIZES))
        if COLOURS[colour] != OWN_COLOUR[CLASSES[kind]]
    ]
    scenes = [single_scene(Dice(split.seed(start + n)), split, k, size, c) for n, (k, c, size) in enumerate(asked)]
    return Singles(pictures(scenes), np.array([k for k, _, _ in asked]), np.array([s for _, _, s in asked]), scenes)


def content(scene: Scene) -> tuple:
    """What a caption can say of a scene but for order and relations; equal content cannot be told apart in words."""
    return scene.background, tuple(sorted(describe(sticker) for sticker in scene.stickers))


def captioned(split: Split, count: int, start: int = 100_000) -> Pairs:
    """Scenes of one to four stickers with rich captions; a scene with the same content as an earlier one is skipped."""
    seen, scenes, captions, number = set(), [], [], start
    while len(scenes) < count:
        dice = Dice(split.seed(number))
        scene = random_scene(dice, split, dice.between(1, 4))
        number += 1
        if content(scene) not in seen:
            seen.add(content(scene))
            scenes.append(scene)
            captions.append(caption(dice, scene, rich=True))
    return Pairs(pictures(scenes), captions, scenes, [])


def word_order(split: Split, count: int, start: int = 200_000) -> Pairs:
    """Scenes of two stickers, "a dog left of a cat on sand", and the wrong order, "a cat left of a dog on sand"."""
    scenes, captions, swapped, number = [], [], [], start
    while len(scenes) < count:
        dice = Dice(split.seed(number))
        number += 1
        scene = random_scene(dice, split, 2)
        a, b = dice.shuffled(scene.stickers)
        if where := relation(a, b):
            first, second = (with_article(describe(sticker)) for sticker in (a, b))
            ground = GROUND_WORDS[BACKGROUNDS[scene.background]]
            scenes.append(scene)
            captions.append(f"{first} {where} {second} {ground}")
            swapped.append(f"{second} {where} {first} {ground}")
    return Pairs(pictures(scenes), captions, scenes, swapped)


def binding(split: Split, count: int, start: int = 300_000) -> Pairs:
    """Scenes of two coloured stickers, "a red car and a blue key", and the colours exchanged, "a blue car and ..."."""
    scenes, captions, swapped = [], [], []
    for number in range(start, start + count):
        dice = Dice(split.seed(number))
        background, kinds = cast_coloured(dice, split)
        colours = dice.shuffled(range(1, len(COLOURS)))[:2]
        stickers = [new_sticker(dice, kind, size=1, colour=colour) for kind, colour in zip(kinds, colours)]
        scene = compose(dice, split, background, scatter(dice, stickers))
        (kind_a, colour_a), (kind_b, colour_b) = ((CLASSES[s.kind], COLOURS[s.colour]) for s in stickers)
        scenes.append(scene)
        captions.append(f"a {colour_a} {kind_a} and a {colour_b} {kind_b}")
        swapped.append(f"a {colour_b} {kind_a} and a {colour_a} {kind_b}")
    return Pairs(pictures(scenes), captions, scenes, swapped)


def training_captions(
    numbers: range, single_share: float, hard_share: float = 0.2, split: Split = TRAIN
) -> tuple[list[Scene], list[str]]:
    """Scenes and captions number by number: one sticker in `single_share` of them, two to four in the others."""
    scenes, captions = [], []
    for number in numbers:
        dice = Dice(split.seed(number))
        count = 1 if dice.chance(single_share) else dice.between(2, 4)
        scene = random_scene(dice, split, count, hard=dice.chance(hard_share))
        scenes.append(scene)
        captions.append(caption(dice, scene, rich=dice.chance(0.5)))
    return scenes, captions


def training_scenes(numbers: range, single_share: float, split: Split = TRAIN) -> Pairs:
    """The same with their pictures: what tiny CLIP trains on."""
    scenes, captions = training_captions(numbers, single_share, split=split)
    return Pairs(pictures(scenes), captions, scenes, [])
