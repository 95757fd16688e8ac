"""Questions with answers, and pairs of scenes that share a class.

Answers are balanced within each kind of question, so that the question alone tells nothing, and the other stickers
answer to every shorter version of it.
"""

from typing import NamedTuple

from .captions import OPPOSITE, RELATIONS, with_article
from .refer import anywhere, beside
from .scenes import Dice, Scene, cast, cast_coloured, compose, new_sticker, random_scene, scatter
from .sheet import CLASSES, COLOURS, SIZES, lookalikes
from .splits import Split, is_held_out, next_allowed
from .textures import BACKGROUNDS

KINDS = ("is there", "how many", "what colour", "where is", "what is beside", "which is bigger", "what ground")


class Question(NamedTuple):
    """A scene, a question about it, the answer in one or two words, and the kind of question."""

    scene: Scene
    text: str
    answer: str
    kind: str


def question(number: int, split: Split, kind: str | None = None, hard: bool = False) -> Question:
    """Question `number` of a split, of one of KINDS or of any; `hard` adds distractors that look alike where it can."""
    dice = Dice(split.seed(number))
    kind = kind or dice.pick(KINDS)
    scene, text, answer = _MAKERS[kind](dice, split, hard)
    return Question(scene, text, answer, kind)


def _is_there(dice: Dice, split: Split, hard: bool) -> tuple[Scene, str, str]:
    scene = random_scene(dice, split, dice.between(1, 4), hard=hard)
    kinds = [sticker.kind for sticker in scene.stickers]
    if dice.chance(0.5):
        return scene, f"is there {with_article(CLASSES[dice.pick(kinds)])}?", "yes"
    wanted = dice.pick(lookalikes(kinds[0])) if hard else dice.below(len(CLASSES))
    missing = next_allowed(wanted, scene.background, kinds)
    return scene, f"is there {with_article(CLASSES[missing])}?", "no"


def _how_many(dice: Dice, split: Split, hard: bool) -> tuple[Scene, str, str]:
    """Zero to three of the class asked for among three or four stickers, so that their number tells nothing."""
    count, total = dice.below(4), dice.between(3, 4)
    background, (kind, *others) = cast(dice, split, 5, alike=hard)
    if count == 0:  # ask for the last class chosen: the first ones, which the split may insist on, stay
        kind, others = others[-1], [kind, *others[:-1]]
    kinds = [kind] * count + others[: total - count]
    stickers = [new_sticker(dice, k, size=dice.below(2)) for k in kinds]
    scene = compose(dice, split, background, scatter(dice, stickers))
    return scene, f"how many stickers show {with_article(CLASSES[kind])}?", str(count)


def _what_colour(dice: Dice, split: Split, hard: bool) -> tuple[Scene, str, str]:
    background, (kind, other) = cast_coloured(dice, split)
    colour, wrong = dice.shuffled(range(1, len(COLOURS)))[:2]
    size = dice.below(len(SIZES)) if hard else None
    stickers = [new_sticker(dice, k, size=size, colour=c) for k, c in ((kind, colour), (other, wrong))]
    scene = compose(dice, split, background, scatter(dice, stickers))
    return scene, f"what colour is the {CLASSES[kind]}?", COLOURS[colour]


def _around(dice: Dice, split: Split, hard: bool) -> tuple[Scene, list[int], str]:
    """An anchor and two stickers on opposite sides of it; the first of the two lies on the side returned."""
    background, kinds = cast(dice, split, 3, alike=hard)
    words = dice.pick(tuple(RELATIONS))
    anchor, near, far = (new_sticker(dice, kind, size=dice.below(2)) for kind in kinds)
    placed = [
        anchor,
        beside(near, dice.between(18, 20), dice.between(-10, 10), RELATIONS[words]),
        beside(far, dice.between(18, 20), dice.between(-10, 10), RELATIONS[OPPOSITE[words]]),
    ]
    return compose(dice, split, background, anywhere(dice, placed)), kinds, words


def _where_is(dice: Dice, split: Split, hard: bool) -> tuple[Scene, str, str]:
    scene, (anchor, near, far), words = _around(dice, split, hard)
    subject, answer = dice.pick(((near, "yes"), (far, "no")))
    return scene, f"is the {CLASSES[subject]} {words} the {CLASSES[anchor]}?", answer


def _what_is_beside(dice: Dice, split: Split, hard: bool) -> tuple[Scene, str, str]:
    scene, (anchor, near, _), words = _around(dice, split, hard)
    return scene, f"what is {words} the {CLASSES[anchor]}?", CLASSES[near]


def _which_is_bigger(dice: Dice, split: Split, hard: bool) -> tuple[Scene, str, str]:
    background, kinds = cast(dice, split, 3, alike=hard)
    sizes = dice.shuffled(range(len(SIZES)))
    stickers = [new_sticker(dice, kind, size=size) for kind, size in zip(kinds, sizes)]
    scene = compose(dice, split, background, scatter(dice, stickers))
    first, second = CLASSES[kinds[0]], CLASSES[kinds[1]]
    answer = first if sizes[0] > sizes[1] else second
    return scene, f"which is bigger, the {first} or the {second}?", answer


def _what_ground(dice: Dice, split: Split, hard: bool) -> tuple[Scene, str, str]:
    scene = random_scene(dice, split, dice.between(1, 4), hard=hard)
    return scene, "what is the background?", BACKGROUNDS[scene.background]


_MAKERS = dict(
    zip(KINDS, (_is_there, _how_many, _what_colour, _where_is, _what_is_beside, _which_is_bigger, _what_ground))
)


def one_shot_pair(number: int, split: Split, hard: bool = False) -> tuple[tuple[Scene, int], tuple[Scene, int]]:
    """Two scenes that share a class, and the number of its sticker in each; `hard` adds look-alikes of one size."""
    dice = Dice(split.seed(number))
    background, (kind,) = cast(dice, split, 1)
    made = []
    for _ in range(2):
        kinds = [kind]
        for _ in range(dice.between(1, 3)):
            other = dice.pick(lookalikes(kind)) if hard else dice.below(len(CLASSES))
            kinds.append(next_allowed(other, background, kinds))
        size = dice.below(2) if hard else None
        stickers = [new_sticker(dice, k, recolour=0, size=size) for k in kinds]
        scene = compose(dice, split, background, scatter(dice, stickers))
        made.append((scene, [sticker.kind for sticker in scene.stickers].index(kind)))
        ground = dice.below(len(BACKGROUNDS))
        if not split.held_out and not is_held_out(ground, [kind]):
            background = ground  # the second scene lies on other ground
    return made[0], made[1]
