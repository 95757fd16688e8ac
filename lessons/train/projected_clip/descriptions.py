"""Four descriptions of which one is right: the question that a CLIP is asked most often.

The wrong three belong to other scenes; or, harder, they are the right one with one class exchanged for another of the
same colour.
"""

from typing import NamedTuple

import numpy as np

from lessons.stickers import exams
from lessons.stickers.baselines import expected_colours, shared
from lessons.stickers.captions import describe, listed, with_article
from lessons.stickers.scenes import Dice, Scene
from lessons.stickers.sheet import COLOURABLE, colour_histogram
from lessons.stickers.splits import Split

START = 600_000  # the scenes of an exam are counted from here


class Fours(NamedTuple):
    """Pictures (N, 64, 64, 3) uint8; of each four descriptions, the right one first, and the scenes they describe."""

    images: np.ndarray
    descriptions: list[tuple[str, ...]]
    scenes: list[tuple[Scene, ...]]


def other_scenes(split: Split, count: int, start: int = START) -> Fours:
    """The wrong three describe the next three scenes of the exam."""
    exam = exams.captioned(split, count, start)
    fours = [[(number + step) % count for step in range(4)] for number in range(count)]
    return Fours(
        exam.images,
        [tuple(exam.captions[n] for n in four) for four in fours],
        [tuple(exam.scenes[n] for n in four) for four in fours],
    )


def one_word_differs(split: Split, count: int, start: int = START) -> Fours:
    """Two coloured stickers; the wrong three name another class in one place, in the same colour.

    All of these classes come in that colour, so that colours alone say nothing of which it is.
    """
    exam = exams.binding(split, count, start)
    scenes = [(scene, *exchanged(scene, Dice(split.seed(start + n)))) for n, scene in enumerate(exam.scenes)]
    return Fours(exam.images, [tuple(in_words(scene) for scene in four) for four in scenes], scenes)


def in_words(scene: Scene) -> str:
    """ "a red car and a blue key"."""
    return listed([with_article(describe(sticker, size=False)) for sticker in scene.stickers])


def exchanged(scene: Scene, dice: Dice) -> list[Scene]:
    """The scene three times, each with another class of the same colour in the place of one sticker's."""
    place = dice.below(len(scene.stickers))
    sticker, there = scene.stickers[place], {s.kind for s in scene.stickers}
    others = dice.shuffled([kind for kind in COLOURABLE if kind not in there])[:3]
    before, behind = scene.stickers[:place], scene.stickers[place + 1 :]
    return [scene._replace(stickers=(*before, sticker._replace(kind=kind), *behind)) for kind in others]


def colour_only(exam: Fours) -> np.ndarray:
    """Whether the right description is the one whose colours the picture has, an oracle that is told the scenes: (N,)
    bool."""
    answers = []
    for image, four in zip(exam.images, exam.scenes):
        seen = colour_histogram(image.reshape(-1, 3))
        right, *wrong = (shared(expected_colours(scene), seen) for scene in four)
        answers.append(right > max(wrong))
    return np.array(answers)
