"""What tiny LAVT trains on: scenes, each asked twice, so that the same picture has to be painted in two ways.

The first sentence is a referring expression that the scene was made for; the second means another sticker of the same
scene, where it can be one of the same class: "the dog on the left", "the dog on the right". Who paints every dog is
wrong on both.
"""

from typing import NamedTuple

import numpy as np

from lessons.stickers import refer
from lessons.stickers.captions import RELATIONS, SIZE_WORDS, relation
from lessons.stickers.scenes import Dice, Scene, Sticker, draw
from lessons.stickers.sheet import CLASSES, COLOURABLE, COLOURS, lookalikes
from lessons.stickers.splits import TRAIN, Split


class Mix(NamedTuple):
    """How often each kind of sentence is asked first, how often the second is tried to be one that means nothing, and
    how many scenes are hard."""

    shares: dict[str, float]
    wrong: float
    hard: float


# First the kinds that must choose, until left and right are told apart; then what takes longer: classes, and silence.
EARLY = Mix(
    {"class": 0.18, "attribute": 0.09, "place": 0.19, "extreme": 0.1, "relation": 0.28, "absent": 0.16},
    wrong=0.1,
    hard=0.5,
)
LATE = Mix(
    {"class": 0.34, "attribute": 0.08, "place": 0.08, "extreme": 0.18, "relation": 0.12, "absent": 0.2},
    wrong=0.2,
    hard=0.6,
)
LAST = Mix(
    {"class": 0.36, "attribute": 0.06, "place": 0.05, "extreme": 0.14, "relation": 0.09, "absent": 0.3},
    wrong=0.3,
    hard=0.7,
)
ASIDE = 6 * 10**11  # sentences are chosen by dice of their own: seeds of a split that its scenes do not reach
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LONGEST = 12  # tokens of a sentence, [CLS] and [SEP] among them
PLAIN = 10  # grid steps: how much further out "the dog on the left" lies than the next dog


class Meant(NamedTuple):
    """A sentence about a scene and which of its stickers it means (-1: none of them)."""

    text: str
    kind: str
    target: int


def vocabulary() -> list[str]:
    """Every word that Sticker World uses, the special tokens first: a WordPiece vocabulary in which no word is cut."""
    phrases = ["the", *refer.PLACES, *RELATIONS, "biggest smallest", *SIZE_WORDS, *COLOURS[1:], *CLASSES, "a an and"]
    return [*SPECIAL, *dict.fromkeys(word for phrase in phrases for word in phrase.split())]


def every_way(scene: Scene) -> list[Meant]:
    """All sentences of the five kinds that mean exactly one sticker of a scene."""
    found = []
    for number, sticker in enumerate(scene.stickers):
        others = [s for s in scene.stickers if s is not sticker]
        alike = [s for s in others if s.kind == sticker.kind]
        for kind, text in [
            *named(sticker, alike),
            *placed(sticker, alike),
            *measured(sticker, alike),
            *related(sticker, alike, others),
        ]:
            found.append(Meant(text, kind, number))
    return found


def named(sticker: Sticker, alike: list[Sticker]) -> list[tuple[str, str]]:
    """ "the dog", "the red car", "the small dog", where no other is called so."""
    ways = [] if alike else [("class", f"the {sticker.name}")]
    if sticker.kind in COLOURABLE and sticker.colour_name not in [s.colour_name for s in alike]:
        ways.append(("attribute", f"the {sticker.colour_name} {sticker.name}"))
    if SIZE_WORDS[sticker.size] and sticker.size not in [s.size for s in alike]:
        ways.append(("attribute", f"the {SIZE_WORDS[sticker.size]}{sticker.name}"))
    return ways


def placed(sticker: Sticker, alike: list[Sticker]) -> list[tuple[str, str]]:
    """ "the dog on the left", where all other dogs lie plainly further right."""
    ways = []
    for words, (right, down) in refer.PLACES.items() if alike else ():
        gaps = [right * (sticker.x - s.x) + down * (sticker.y - s.y) for s in alike]
        if min(gaps) >= PLAIN:
            ways.append(("place", f"the {sticker.name} {words}"))
    return ways


def measured(sticker: Sticker, alike: list[Sticker]) -> list[tuple[str, str]]:
    """ "the biggest dog", where there are several."""
    sizes = [s.size for s in alike]
    ways = [("extreme", f"the biggest {sticker.name}")] if alike and sticker.size > max(sizes) else []
    return ways + ([("extreme", f"the smallest {sticker.name}")] if alike and sticker.size < min(sizes) else [])


def related(sticker: Sticker, alike: list[Sticker], others: list[Sticker]) -> list[tuple[str, str]]:
    """ "the dog left of the tree", where there is one tree and other dogs plainly lie elsewhere."""
    ways = []
    for anchor in others:
        words = relation(sticker, anchor)
        single = [s.kind for s in others].count(anchor.kind) == 1 and anchor.kind != sticker.kind
        elsewhere = [relation(s, anchor) for s in alike]
        if words and single and words not in elsewhere and "" not in elsewhere:
            ways.append(("relation", f"the {sticker.name} {words} the {anchor.name}"))
    return ways


def second(dice: Dice, scene: Scene, first: Meant, noun: str, wrong: float) -> Meant:
    """Another sentence about the scene: of a sticker that is not there, or of another one, mostly of the same class."""
    nothing = missing(dice, scene) if dice.chance(wrong) else None
    if nothing:
        return nothing
    ways = [way for way in every_way(scene) if way.target != first.target] or [first]
    same_class = [way for way in ways if scene.stickers[way.target].name == noun]
    same_kind = [way for way in same_class if way.kind == first.kind]
    draw_from = ways if dice.chance(0.3) else same_kind or same_class or ways
    kind = dice.pick(sorted({way.kind for way in draw_from}))  # kinds first: else relations, being many, would win
    return dice.pick([way for way in draw_from if way.kind == kind])


def missing(dice: Dice, scene: Scene) -> Meant | None:
    """A sentence that means nothing in the scene: a class, a look or a place that none has (None: none was found)."""
    like, way = dice.pick(scene.stickers), dice.below(3)
    there = [s.kind for s in scene.stickers]
    alike = [s for s in scene.stickers if s.kind == like.kind]
    looks = [COLOURS[1:], [s.colour_name for s in alike]] if like.kind in COLOURABLE and dice.chance(0.5) else None
    first, used = looks or [("small ", "big "), [SIZE_WORDS[s.size] for s in alike]]
    anchor = dice.pick(scene.stickers)
    if way == 0:
        kind = dice.pick(lookalikes(like.kind)) if dice.chance(0.5) else dice.below(len(CLASSES))
        return None if kind in there else Meant(f"the {CLASSES[kind]}", "absent", -1)
    if way == 1:
        free = [word.strip() for word in first if word not in used]
        return Meant(f"the {dice.pick(free)} {like.name}", "absent", -1) if free else None
    taken = [relation(s, anchor) for s in alike]
    if there.count(anchor.kind) > 1 or anchor.kind == like.kind or "" in taken:
        return None
    free = [words for words in RELATIONS if words not in taken]
    return Meant(f"the {like.name} {dice.pick(free)} the {anchor.name}", "absent", -1) if free else None


def question(number: int, mix: Mix = EARLY, split: Split = TRAIN) -> tuple[np.ndarray, np.ndarray, list[Meant]]:
    """Scene `number` (64, 64, 3) uint8, whose pixel is whose (64, 64) uint8, and two sentences."""
    dice = Dice(split.seed(ASIDE + number))
    kind = pick_kind(dice, mix)
    scene, text, _, target, noun = refer.expression(number, split, kind, hard=dice.chance(mix.hard))
    picture, owner = draw(scene)
    first = Meant(text, kind, target)
    return picture, owner, [first, second(dice, scene, first, noun, mix.wrong)]


def pick_kind(dice: Dice, mix: Mix) -> str:
    """One of the kinds of sentence, as often as the mix says."""
    left = dice.numbers.pop()
    for kind, share in mix.shares.items():
        left -= share
        if left < 0:
            return kind
    return kind


def batch(numbers: range, mix: Mix = EARLY) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Scenes (S, 64, 64, 3) uint8, their sentences (2 S, the two of a scene side by side), masks (2 S, 64, 64) bool."""
    drawn = [question(number, mix) for number in numbers]
    asked = [(owner, one) for _, owner, both in drawn for one in both]
    masks = np.stack([(owner == one.target + 1) & (one.target >= 0) for owner, one in asked])
    return np.stack([picture for picture, _, _ in drawn]), [one.text for _, one in asked], masks
