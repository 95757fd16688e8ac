"""Referring expressions: "the small dog left of the tree", with the pixels meant, each in a scene made for its
question.

No scene is thrown away: the stickers are chosen and placed so that the expression holds for exactly one of them (or,
kind "absent", for none), and so that no word can be left out. The other stickers answer to every shorter version:

    class      the other stickers have other classes; in hard scenes all have one size, and one colour or colours that
    look alike attribute  "the red car": a car in another colour, and another red thing; "the small dog": a big dog, and
    another small thing place      "the dog on the left": a second dog, and another thing that lies further left extreme
    "the biggest dog": two smaller dogs, and another thing as big relation   "the dog left of the tree": a second dog
    that is not, and another thing that is absent     any of the above with what is said missing: no such class, no such
    colour or size, no such relation
"""

from typing import NamedTuple

from .captions import OPPOSITE, RELATIONS, SIZE_WORDS
from .scenes import (
    BIG,
    GRID,
    SMALL,
    Dice,
    Scene,
    Sticker,
    cast,
    cast_coloured,
    compose,
    new_sticker,
    random_scene,
    scatter,
)
from .sheet import CLASSES, COLOURS, SIZES
from .splits import Split, next_allowed

KINDS = ("class", "attribute", "place", "extreme", "relation", "absent")
PLACES = {"on the left": (-1, 0), "on the right": (1, 0), "at the top": (0, -1), "at the bottom": (0, 1)}
MIDDLE = GRID // 2


class Expression(NamedTuple):
    """A scene, a phrase, its kind, and which of `scene.stickers` it means (-1: none of them)."""

    scene: Scene
    text: str
    kind: str
    target: int
    noun: str  # the class the phrase is about: what is left of it for someone who ignores every other word


def expression(number: int, split: Split, kind: str, hard: bool = False) -> Expression:
    """Expression `number` of a split, of one of KINDS; `hard` adds distractors of the same size and like colours where
    it can."""
    dice = Dice(split.seed(number))
    return _MAKERS[kind](dice, split, hard)


def _finish(
    dice: Dice, split: Split, background: int, stickers: list[Sticker], text: str, kind: str, noun: int
) -> Expression:
    """The expression that means the first of these placed stickers (kind "absent": none)."""
    scene = compose(dice, split, background, stickers)
    target = -1 if kind == "absent" else scene.stickers.index(stickers[0])
    return Expression(scene, text, kind, target, CLASSES[noun])


def _class(dice: Dice, split: Split, hard: bool) -> Expression:
    count = dice.between(2, 4) if hard else dice.between(1, 4)
    if hard and dice.chance(0.5):  # all in one colour, such as a red car, a red book and a red heart
        background, kinds = cast_coloured(dice, split, count)
        size, colour = dice.below(2), dice.between(1, len(COLOURS) - 1)
        stickers = scatter(dice, [new_sticker(dice, kind, size=size, colour=colour) for kind in kinds])
        return _finish(dice, split, background, stickers, f"the {CLASSES[kinds[0]]}", "class", kinds[0])
    scene = random_scene(dice, split, count, hard=hard)
    target = dice.below(len(scene.stickers))
    name = scene.stickers[target].name
    return Expression(scene, f"the {name}", "class", target, name)


def _attribute(dice: Dice, split: Split, hard: bool, absent: bool = False) -> Expression:
    if dice.chance(0.5):
        background, (kind, other) = cast_coloured(dice, split)
        colour, wrong, third = dice.shuffled(range(1, len(COLOURS)))[:3]
        size = dice.below(len(SIZES)) if hard else None
        looks = [(kind, third if absent else colour), (kind, wrong), (other, colour)]
        stickers = [new_sticker(dice, k, size=size, colour=c) for k, c in looks]
        word = COLOURS[colour]
    else:
        background, (kind, other) = cast(dice, split, 2, alike=hard)
        size = dice.pick((SMALL, BIG))
        wrong = BIG - size
        looks = [(kind, wrong if absent else size), (kind, wrong), (other, size)]
        stickers = [new_sticker(dice, k, recolour=0, size=s) for k, s in looks]
        word = SIZE_WORDS[size].strip()
    placed = scatter(dice, stickers)
    return _finish(
        dice, split, background, placed, f"the {word} {CLASSES[kind]}", "absent" if absent else "attribute", kind
    )


def beside_middle(sticker: Sticker, along: int, across: int, direction: tuple[int, int]) -> Sticker:
    """Place a sticker `along` a direction from the middle and `across` it, kept inside the picture."""
    right, down = direction
    half = SIZES[sticker.size] // 2
    x, y = MIDDLE + right * along + down * across, MIDDLE + down * along + right * across
    return sticker._replace(x=min(max(x, half), GRID - half), y=min(max(y, half), GRID - half))


def _place(dice: Dice, split: Split, hard: bool) -> Expression:
    """Two of a class at different ends, something else further out than the one that is meant."""
    background, (kind, other) = cast(dice, split, 2, alike=hard)
    words = dice.pick(tuple(PLACES))
    direction, side = PLACES[words], dice.pick((-1, 1))
    meant, second = (new_sticker(dice, kind, 0.5, dice.below(2)) for _ in range(2))
    outer = new_sticker(dice, other, 0.5, SMALL)
    stickers = [
        beside_middle(meant, dice.between(2, 8), side * dice.between(4, 20), direction),
        beside_middle(second, -dice.between(14, 24), dice.between(-20, 20), direction),
        beside_middle(outer, dice.between(20, 24), -side * dice.between(8, 20), direction),
    ]
    return _finish(dice, split, background, stickers, f"the {CLASSES[kind]} {words}", "place", kind)


def _extreme(dice: Dice, split: Split, hard: bool) -> Expression:
    """Two or three of a class in different sizes, something else of the size that is meant."""
    background, (kind, other) = cast(dice, split, 2, alike=hard)
    word, size = dice.pick((("biggest", BIG), ("smallest", SMALL)))
    if dice.chance(0.5):  # the sizes are relative: the biggest need not be big
        size = 1
    rest = [s for s in range(len(SIZES)) if (s < size if word == "biggest" else s > size)]
    looks = [(kind, size), *((kind, s) for s in rest), (other, size)]
    stickers = [new_sticker(dice, k, 0.5, s) for k, s in looks]
    placed = scatter(dice, stickers)
    return _finish(dice, split, background, placed, f"the {word} {CLASSES[kind]}", "extreme", kind)


def _relation(dice: Dice, split: Split, hard: bool, absent: bool = False) -> Expression:
    """An anchor in the middle, one of the class on the side that is meant, one on another side, something else on the
    first side."""
    background, (kind, anchor) = cast(dice, split, 2)
    other = next_allowed(dice.below(len(CLASSES)), background, [kind, anchor])
    words = dice.pick(tuple(RELATIONS))
    sides = {word: (dice.between(19, 23), dice.between(-4, 4)) for word in RELATIONS}
    elsewhere = OPPOSITE[words] if dice.chance(0.5) else dice.pick([w for w in RELATIONS if w != words])
    turned = dice.pick((-1, 1))
    meant, second, extra = (
        new_sticker(dice, k, 0.5, size) for k, size in ((kind, SMALL), (kind, dice.below(2)), (other, SMALL))
    )
    middle = beside_middle(new_sticker(dice, anchor, 0.5, dice.below(2)), 0, 0, (1, 0))
    along = sides[words][0]
    stickers = [
        beside_middle(meant, along, turned * dice.between(8, 10), RELATIONS[words]),
        beside_middle(second, *sides[elsewhere], RELATIONS[elsewhere]),
        beside_middle(extra, along, -turned * dice.between(8, 10), RELATIONS[words]),
        middle,
    ]
    shift_x, shift_y = dice.between(-1, 1), dice.between(-1, 1)
    stickers = [s._replace(x=s.x + shift_x, y=s.y + shift_y) for s in stickers]
    text = f"the {CLASSES[kind]} {words} the {CLASSES[anchor]}"
    if absent:
        stickers = stickers[1:]
    return _finish(dice, split, background, stickers, text, "absent" if absent else "relation", kind)


def _absent(dice: Dice, split: Split, hard: bool) -> Expression:
    way = dice.below(3)
    if way == 1:
        return _attribute(dice, split, hard, absent=True)
    if way == 2:
        return _relation(dice, split, hard, absent=True)
    scene = random_scene(dice, split, dice.between(1, 4), hard=hard)
    there = [sticker.kind for sticker in scene.stickers]
    missing = next_allowed(dice.below(len(CLASSES)), scene.background, there)
    return Expression(scene, f"the {CLASSES[missing]}", "absent", -1, CLASSES[missing])


_MAKERS = dict(zip(KINDS, (_class, _attribute, _place, _extreme, _relation, _absent)))
