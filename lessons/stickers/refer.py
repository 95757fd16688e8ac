"""Referring expressions: "the small dog left of the tree", with the pixels meant, each in a scene made for its
question.

No scene is thrown away: the stickers are chosen and placed so that the expression holds for exactly one of them (or,
kind "absent", for none), and so that no word can be left out. The other stickers answer to every shorter version:

    class      the other stickers have other classes; in hard scenes all have one size, and one colour or like colours
    attribute  "the red car": a car of another colour, another red thing; "the small dog": a big dog, a small thing
    place      "the dog on the left": a second dog, and another thing that lies further left
    extreme    "the biggest dog": smaller dogs, and another thing as big
    relation   "the dog left of the tree": a second dog that is not, though in 40 % it lies further left in the picture
               (above or below the tree), and another thing that is
    absent     class, attribute or relation with what is said missing
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
from .sheet import CLASSES, COLOURS, SIZES, lookalikes
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
    """Expression `number` of a split, of one of KINDS; `hard` makes distractors alike in size and colour."""
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


def beside(sticker: Sticker, along: int, across: int, direction: tuple[int, int]) -> Sticker:
    """Place a sticker `along` a direction and `across` it, seen from the grid's corner (0, 0)."""
    right, down = direction
    return sticker._replace(x=right * along + down * across, y=down * along + right * across)


def anywhere(dice: Dice, stickers: list[Sticker]) -> list[Sticker]:
    """Move a group of stickers as a whole to a random place inside the picture."""
    halves = [SIZES[sticker.size] // 2 for sticker in stickers]
    x = dice.between(
        -min(s.x - half for s, half in zip(stickers, halves)),
        GRID - max(s.x + half for s, half in zip(stickers, halves)),
    )
    y = dice.between(
        -min(s.y - half for s, half in zip(stickers, halves)),
        GRID - max(s.y + half for s, half in zip(stickers, halves)),
    )
    return [s._replace(x=s.x + x, y=s.y + y) for s in stickers]


def _place(dice: Dice, split: Split, hard: bool) -> Expression:
    """Two of a class, one further out; something else, in half of the scenes still further out."""
    background, (kind, other) = cast(dice, split, 2, alike=hard)
    words = dice.pick(tuple(PLACES))
    direction, side = PLACES[words], dice.pick((-1, 1))
    meant, second = (new_sticker(dice, kind, 0.5, dice.below(2)) for _ in range(2))
    if dice.chance(0.5):
        far, near = dice.between(20, 24), dice.between(-6, 8)
    else:
        far, near = dice.between(-16, 16), dice.between(-2, 21)
    stickers = [
        beside(meant, near, side * dice.between(4, 20), direction),
        beside(second, dice.between(-24, near - 18), dice.between(-20, 20), direction),
        beside(new_sticker(dice, other, 0.5, SMALL), far, -side * dice.between(14, 20), direction),
    ]
    stickers = [_inside(s._replace(x=s.x + MIDDLE, y=s.y + MIDDLE)) for s in stickers]
    return _finish(dice, split, background, stickers, f"the {CLASSES[kind]} {words}", "place", kind)


def _inside(sticker: Sticker) -> Sticker:
    """The sticker moved inside the picture."""
    half = SIZES[sticker.size] // 2
    return sticker._replace(x=min(max(sticker.x, half), GRID - half), y=min(max(sticker.y, half), GRID - half))


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
    """An anchor, one of the class on the side that is meant and another elsewhere, something else on the first side.

    In 40 % the other one lies further out in the direction that is named, but plainly across it seen from the anchor:
    who forgets the anchor and takes the dog furthest left is wrong there.
    """
    background, (kind, anchor) = cast(dice, split, 2)
    other = next_allowed(dice.below(len(CLASSES)), background, [kind, anchor])
    words, turned = dice.pick(tuple(RELATIONS)), dice.pick((-1, 1))
    elsewhere = OPPOSITE[words] if dice.chance(0.3) else dice.pick([w for w in RELATIONS if w != words])
    further = dice.chance(0.4)
    sizes = (SMALL, SMALL) if further else (dice.below(2), dice.below(2))  # room for what lies further out
    looks = [*((kind, size) for size in sizes), (other, SMALL), (anchor, dice.below(2))]
    meant, second, extra, middle = (new_sticker(dice, k, 0.5, size) for k, size in looks)
    if further:  # 34 across and 21 or 22 along: seen from the anchor, plainly above or below, not left or right
        along = dice.between(16, 17)
        placed = beside(second, along + 5, -turned * 34, RELATIONS[words])
    else:
        along = dice.between(18, 20)
        placed = beside(second, dice.between(18, 20), dice.between(-4, 4), RELATIONS[elsewhere])
    stickers = [
        beside(meant, along, turned * dice.between(8, 9), RELATIONS[words]),
        placed,
        beside(extra, along, -turned * dice.between(8, 9), RELATIONS[words]),
        middle,
    ]
    stickers = anywhere(dice, stickers[1:] if absent else stickers)
    text = f"the {CLASSES[kind]} {words} the {CLASSES[anchor]}"
    return _finish(dice, split, background, stickers, text, "absent" if absent else "relation", kind)


def _absent(dice: Dice, split: Split, hard: bool) -> Expression:
    way = dice.below(3)
    if way == 1:
        return _attribute(dice, split, hard, absent=True)
    if way == 2:
        return _relation(dice, split, hard, absent=True)
    scene = random_scene(dice, split, dice.between(1, 4), hard=hard)
    there = [sticker.kind for sticker in scene.stickers]
    wanted = dice.pick(lookalikes(there[0])) if hard else dice.below(len(CLASSES))
    missing = next_allowed(wanted, scene.background, there)
    return Expression(scene, f"the {CLASSES[missing]}", "absent", -1, CLASSES[missing])


_MAKERS = dict(zip(KINDS, (_class, _attribute, _place, _extreme, _relation, _absent)))
