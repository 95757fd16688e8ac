"""Shortcuts: what can be scored without reading picture or sentence properly. A figure means something above these.

Colours are compared as histograms of 4 x 4 x 4 boxes of RGB; two histograms are as near as the share of colour they
have in common. Some of these are oracles, better than any real shortcut: they are told what is in the scene, or which
pixels belong to the sticker.
"""

from functools import cache
from itertools import product

import numpy as np

from .captions import RELATIONS
from .exams import Pairs, Singles
from .refer import Expression
from .scenes import GRID, Dice, Scene, Sticker, draw, single_scene
from .sheet import CLASSES, SIZES, TURNS, colour_histogram, sprite
from .splits import TRAIN
from .textures import BACKGROUNDS, PER_KIND, texture


@cache
def look(kind: int, colour: int = 0) -> np.ndarray:
    """The mean histogram of a class in one colour, in its three sizes on training scenes: (64,)."""
    parts = []
    for number in range(12):
        scene = single_scene(Dice(TRAIN.seed(number)), TRAIN, kind, size=number % 3, colour=colour)
        picture, owner = draw(scene)
        parts.append(colour_histogram(picture[owner == 1]))
    return np.mean(parts, axis=0)


@cache
def ground(background: int) -> np.ndarray:
    """The mean histogram of a background's training textures: (64,)."""
    textures = (texture(background, TRAIN.bank, number, 2 * GRID) for number in range(PER_KIND))
    return np.mean([colour_histogram(picture.reshape(-1, 3)) for picture in textures], axis=0)


def shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of colour that histograms have in common, 0 to 1, over the last axis."""
    return np.minimum(a, b).sum(axis=-1)


def expected_colours(scene: Scene) -> np.ndarray:
    """The colours a scene should have for what is in it, wherever they are: stickers by their area, else background."""
    areas = [sprite(s.kind, s.colour, s.size, len(TURNS) // 2).solid.sum() / GRID**2 for s in scene.stickers]
    colours = sum(area * look(s.kind, s.colour) for area, s in zip(areas, scene.stickers))
    return colours + (1 - sum(areas)) * ground(scene.background)


def colour_only_class(exam: Singles) -> np.ndarray:
    """Name each sticker by the nearest mean colours of the 64 classes, its pixels told: (N,) bool, right or wrong."""
    looks = np.stack([look(kind) for kind in range(len(CLASSES))])
    answers = []
    for scene in exam.scenes:
        picture, owner = draw(scene)
        answers.append(shared(looks, colour_histogram(picture[owner == 1])).argmax())
    return np.array(answers) == exam.kinds


def picture_colours_class(exam: Singles) -> np.ndarray:
    """The same from the colours of the whole picture, no pixels told: (N,) bool.

    Of every class in every size on every background it is known what colours the picture should have; the nearest wins.
    """
    asked = list(product(range(len(CLASSES)), range(len(SIZES)), range(len(BACKGROUNDS))))
    scenes = (
        Scene(place, 0, 0, (0, 0, False), (Sticker(kind, 0, size, 0, False, 0, 0),)) for kind, size, place in asked
    )
    told = np.stack([expected_colours(scene) for scene in scenes])
    seen = (colour_histogram(picture.reshape(-1, 3)) for picture in exam.images)
    return np.array([asked[shared(told, colours).argmax()][0] for colours in seen]) == exam.kinds


def colour_only_ranks(exam: Pairs) -> np.ndarray:
    """Find each caption's picture by its colours alone: how many wrong pictures come before it, (N,)."""
    told = np.stack([expected_colours(scene) for scene in exam.scenes])
    seen = np.stack([colour_histogram(picture.reshape(-1, 3)) for picture in exam.images])
    scores = np.stack([shared(seen, wanted) for wanted in told])  # (captions, pictures)
    return (scores >= scores.diagonal()[:, None]).sum(axis=1) - 1


def best_constant(answers: list[str]) -> float:
    """The share of questions that the most frequent answer gets right."""
    return max(answers.count(answer) for answer in set(answers)) / len(answers)


def choose_by_chance(asked: Expression) -> float:
    """The chance that a sticker drawn blindly is the one meant."""
    return float(asked.target >= 0) / len(asked.scene.stickers)


def ignore_the_relation(asked: Expression) -> float:
    """The chance of the right sticker for one who reads the noun only, and draws among the stickers of that class."""
    same = [sticker.name == asked.noun for sticker in asked.scene.stickers]
    if asked.target < 0:
        return float(not any(same))  # says "absent" only where the class is
    return 1 / sum(same)


def colour_only_choice(asked: Expression) -> float:
    """The chance of the right sticker for one who takes the colours nearest to the noun's own, never "absent"."""
    if asked.target < 0:
        return 0.0
    picture, owner = draw(asked.scene)
    wanted = look(CLASSES.index(asked.noun))
    near = [shared(wanted, colour_histogram(picture[owner == n + 1])) for n in range(len(asked.scene.stickers))]
    best = [n for n, value in enumerate(near) if value >= max(near) - 1e-9]
    return float(asked.target in best) / len(best)


def forget_the_anchor(asked: Expression) -> float:
    """The chance of the right sticker for one who hears "the dog left" of "the dog left of the tree" and takes the dog
    furthest left; where no relation is named, as `ignore_the_relation`."""
    direction = next((way for words, way in RELATIONS.items() if f" {words} the " in asked.text), None)
    if direction is None or asked.target < 0:
        return ignore_the_relation(asked)
    right, down = direction
    stickers = asked.scene.stickers
    out = {n: right * s.x + down * s.y for n, s in enumerate(stickers) if s.name == asked.noun}
    best = [n for n, value in out.items() if value == max(out.values())]
    return float(asked.target in best) / len(best)


SHORTCUTS = {
    "chance": choose_by_chance,
    "colour only": colour_only_choice,
    "ignore the relation": ignore_the_relation,
    "forget the anchor": forget_the_anchor,
}
