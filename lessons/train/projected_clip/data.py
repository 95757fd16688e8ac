"""Four descriptions of which one is right: the question that a CLIP is asked most often.

The wrong three belong to other scenes; or, harder, they are the right one with one class exchanged for another of like
colours.
"""

from typing import NamedTuple

import numpy as np

from lessons.stickers import exams
from lessons.stickers.baselines import expected_colours, shared
from lessons.stickers.captions import caption
from lessons.stickers.scenes import Dice, Scene
from lessons.stickers.sheet import colour_histogram, lookalikes
from lessons.stickers.splits import Split

START, CAPTION = 600_000, 700_000  # scenes of an exam, and the dice of their captions, are counted from here


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
    """The wrong three name another class in one place, each another one, of colours like the right one's."""
    exam = exams.captioned(split, count, start)
    scenes = [(scene, *exchanged(scene, Dice(split.seed(start + n)))) for n, scene in enumerate(exam.scenes)]
    descriptions = [
        tuple(caption(Dice(split.seed(CAPTION + n)), scene, rich=True) for scene in four)
        for n, four in enumerate(scenes)
    ]
    return Fours(exam.images, descriptions, scenes)


def exchanged(scene: Scene, dice: Dice) -> list[Scene]:
    """The scene three times, each with another class in the place of one sticker's, which is the same all three times.

    The other class is of the six whose colours are nearest, or the next ones where some of those are in the scene.
    """
    place = dice.below(len(scene.stickers))
    sticker, there = scene.stickers[place], {s.kind for s in scene.stickers}
    near = [kind for kind in lookalikes(sticker.kind, 10) if kind not in there][:6]
    wrong = [sticker._replace(kind=kind, colour=0) for kind in dice.shuffled(near)[:3]]
    before, behind = scene.stickers[:place], scene.stickers[place + 1 :]
    return [scene._replace(stickers=(*before, other, *behind)) for other in wrong]


def colour_only(exam: Fours) -> np.ndarray:
    """Whether the right description is the one whose colours the picture has, an oracle that is told the scenes: (N,)
    bool."""
    answers = []
    for image, four in zip(exam.images, exam.scenes):
        seen = colour_histogram(image.reshape(-1, 3))
        right, *wrong = (shared(expected_colours(scene), seen) for scene in four)
        answers.append(right > max(wrong))
    return np.array(answers)
