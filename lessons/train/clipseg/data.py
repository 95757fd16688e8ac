"""What tiny CLIPSeg trains on: scenes with several prompts each, and the pixels that each prompt means.

Lueddecke and Ecker 2022, section 4.1 (PhraseCut+): phrases, pictures that show the same thing, mixes of the two, and
for a fifth of the prompts something that is not there, whose mask is empty.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lessons.stickers import questions, refer
from lessons.stickers.captions import GROUND_WORDS, describe, with_article
from lessons.stickers.scenes import Dice, Scene, compose, draw, new_sticker, scatter
from lessons.stickers.sheet import CLASSES, COLOURABLE, COLOURS, lookalikes
from lessons.stickers.splits import TRAIN, Split, next_allowed
from lessons.stickers.textures import BACKGROUNDS
from lessons.train import measures
from minimodels import picture_prompts

PROMPTS = 4  # asked of each scene, which is encoded once
NEGATIVES = 0.2  # the share of prompts for something that is not there
CONTEXT = 0.5  # of a picture prompt's crop: the sticker fills half its side, as a big one does in a scene
ASIDE = 5 * 10**11  # prompts are chosen by dice of their own: the seeds of a split that its scenes do not reach


class Asked(NamedTuple):
    """A prompt: its text, the class of the picture that may be mixed in (-1: none), and the weight of the text."""

    text: str
    kind: int
    text_weight: float
    mask: Bool[np.ndarray, "height width"]


def ways_to_say(words: str) -> tuple[str, ...]:
    """A label as a learner, a caption and an expression say it."""
    return words, with_article(words), f"the {words}", f"a picture of {with_article(words)}"


def vocabulary() -> list[str]:
    """Every phrase without a place or a relation, in one order: their embeddings are computed once."""
    colours = [f"{colour} {CLASSES[kind]}" for kind in COLOURABLE for colour in COLOURS[1:]]
    things = [f"{size}{name}" for size in ("", "small ", "big ") for name in (*CLASSES, *colours)]
    grounds = [text for ground in BACKGROUNDS for text in ground_texts(ground)]
    return list(dict.fromkeys([text for thing in things for text in ways_to_say(thing)] + grounds))


def ground_texts(ground: str) -> tuple[str, ...]:
    """ "grass", "the grass", "on grass"."""
    return ground, f"the {ground}", GROUND_WORDS[ground]


def asked_of(dice: Dice, scene: Scene, owner: np.ndarray) -> Asked:
    """One prompt about a scene: a class by text, picture or mix, a size or colour, the background, what is absent."""
    there = [sticker.kind for sticker in scene.stickers]
    if dice.chance(0.08):
        ground = scene.background if not dice.chance(NEGATIVES) else dice.below(len(BACKGROUNDS))
        mask = (owner == 0) & (ground == scene.background)
        return Asked(dice.pick(ground_texts(BACKGROUNDS[ground])), -1, 1.0, mask)
    if dice.chance(NEGATIVES):
        kind = dice.pick(lookalikes(dice.pick(there))) if dice.chance(0.5) else dice.below(len(CLASSES))
    else:
        kind = dice.pick(there)
    if dice.chance(0.2):  # "the small red car": all stickers that look so, which may be none
        like = dice.pick(scene.stickers)
        like = like._replace(kind=kind, colour=like.colour if kind in COLOURABLE else 0)
        size, colour = dice.chance(0.5), dice.chance(0.5)
        words = describe(like, size, colour)
        meant = [describe(sticker, size, colour) == words for sticker in scene.stickers]
        return Asked(dice.pick(ways_to_say(words)), -1, 1.0, pixels(owner, meant))
    weight = 1.0 if dice.chance(0.5) else 0.5 * dice.numbers.pop()
    meant = [sticker.kind == kind for sticker in scene.stickers]
    return Asked(dice.pick(ways_to_say(CLASSES[kind])), kind, weight, pixels(owner, meant))


def pixels(owner: np.ndarray, meant: list[bool]) -> np.ndarray:
    """The visible pixels of the stickers that are meant: (H, W) bool."""
    return np.array([False, *meant])[owner]


def question(number: int, split: Split = TRAIN) -> tuple[np.ndarray, list[Asked]]:
    """Scene `number` (64, 64, 3) uint8 and its prompts; in a third of the scenes the first is a referring expression,
    which one class name would not answer."""
    dice = Dice(split.seed(ASIDE + number))
    kind = dice.pick(("attribute", "place", "extreme", "relation", "absent")) if dice.chance(0.33) else "class"
    scene, text, _, target, _ = refer.expression(number, split, kind, hard=dice.chance(0.5))
    picture, owner = draw(scene)
    prompts = [asked_of(dice, scene, owner) for _ in range(PROMPTS)]
    if kind != "class":
        prompts[0] = Asked(text, -1, 1.0, (owner == target + 1) & (target >= 0))
    return picture, prompts


def support_pictures(numbers: range, kind: int | None, split: Split) -> Tensor:
    """What a picture prompt shows: stickers cut out of their scenes, the background grey, (N, 3, 64, 64).

    Args:
        numbers: of the split's one-shot pairs. kind: the class, or None for that of each pair.
    """
    scenes = [one_shot(number, split) if kind is None else showing(number, kind, split) for number in numbers]
    drawn = [(draw(scene), target) for scene, target in scenes]
    image = measures.normalized(np.stack([picture for (picture, _), _ in drawn]))
    mask = torch.from_numpy(np.stack([owner == target + 1 for (_, owner), target in drawn]))
    return cut_out(image, mask)


def cut_out(
    image: Float[Tensor, "batch 3 height width"], mask: Bool[Tensor, "batch height width"]
) -> Float[Tensor, "batch 3 64 64"]:
    """The picture prompt that tiny CLIPSeg is trained with."""
    shown = picture_prompts.highlight(image, mask, background=0.0)
    return picture_prompts.crop_to_mask(shown, mask, size=64, context=CONTEXT)


def one_shot(number: int, split: Split) -> tuple[Scene, int]:
    """The first scene of a one-shot pair and its sticker's number."""
    return questions.one_shot_pair(number, split, hard=number % 2 == 1)[0]


def showing(number: int, kind: int, split: Split) -> tuple[Scene, int]:
    """A scene that shows a class, and its sticker's number."""
    dice = Dice(split.seed(ASIDE + number * len(CLASSES) + kind))
    background = dice.below(len(BACKGROUNDS))
    kinds = [kind]
    for _ in range(dice.below(3)):
        kinds.append(next_allowed(dice.below(len(CLASSES)), background, kinds))
    stickers = scatter(dice, [new_sticker(dice, one) for one in kinds])
    scene = compose(dice, split, background, stickers)
    return scene, [sticker.kind for sticker in scene.stickers].index(kind)
