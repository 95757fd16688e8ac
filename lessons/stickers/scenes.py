"""Scenes: what is in a picture, made from one integer, and the picture itself with the pixels of each sticker.

A `Scene` is a plain description on a grid of 64 x 64; `draw` paints it at any size. All chance comes from `Dice`, a row
of numbers that numpy's PCG64 makes from the scene's seed: the same seed gives the same scene on every machine.
"""

from typing import NamedTuple

import numpy as np

from .sheet import CLASSES, COLOURABLE, COLOURS, OWN_COLOUR, SIZES, TURNS, lookalikes, sprite
from .splits import GROUNDS, PAIRS, Split, is_held_out, makes_held_out, next_allowed
from .textures import BACKGROUNDS, PER_KIND, texture

GRID = 64  # scenes are described on this grid, whatever size they are drawn at
SMALL, MEDIUM, BIG = range(3)
_COLOURABLE = frozenset(COLOURABLE)


class Sticker(NamedTuple):
    """One sticker: class, colour (0: its own) and size numbers, how it is turned, and its centre on the grid."""

    kind: int
    colour: int
    size: int
    turn: int
    mirrored: bool
    x: int
    y: int

    @property
    def name(self) -> str:
        return CLASSES[self.kind]

    @property
    def colour_name(self) -> str:
        """The colour word of a class that comes in several colours, "" for the others."""
        return COLOURS[self.colour] if self.colour else OWN_COLOUR.get(CLASSES[self.kind], "")


class Scene(NamedTuple):
    """A background (kind, bank, which texture and which piece of it) and one to four stickers, the hindmost first."""

    background: int
    bank: int
    texture: int
    piece: tuple[int, int, bool]  # first row and column of the texture shown, on the grid; mirrored or not
    stickers: tuple[Sticker, ...]


class Dice:
    """Random choices from one seed: 160 numbers drawn at once, ten times faster than one numpy call for each choice."""

    def __init__(self, seed: int):
        self.numbers = np.random.Generator(np.random.PCG64(seed)).random(160).tolist()

    def below(self, count: int) -> int:
        """0 ... count - 1, all equally likely."""
        return int(self.numbers.pop() * count)

    def between(self, low: int, high: int) -> int:
        """low ... high, both included."""
        return low + int(self.numbers.pop() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        return self.numbers.pop() < probability

    def pick(self, options):
        return options[int(self.numbers.pop() * len(options))]

    def shuffled(self, items) -> list:
        return sorted(items, key=lambda _: self.numbers.pop())


def cast(dice: Dice, split: Split, count: int, alike: bool = False) -> tuple[int, list[int]]:
    """Choose a background and `count` different classes that the split allows; `alike` asks for colours like the first
    one's."""
    background, kinds = dice.below(len(BACKGROUNDS)), []
    if split.held_out:
        if count > 1 and dice.chance(0.5):
            kinds = dice.shuffled(dice.pick(PAIRS))
        else:
            kind, background = dice.pick(GROUNDS)
            kinds = [kind]
    while len(kinds) < count:
        kind = dice.pick(lookalikes(kinds[0])) if kinds and alike else dice.below(len(CLASSES))
        kinds.append(next_allowed(kind, background, kinds))
    return background, kinds


def cast_coloured(dice: Dice, split: Split, count: int = 2) -> tuple[int, list[int]]:
    """Choose a background and `count` different classes that come in several colours."""
    background, kinds = dice.below(len(BACKGROUNDS)), []
    if split.held_out:
        kind, background = dice.pick([(kind, ground) for kind, ground in GROUNDS if kind in _COLOURABLE])
        kinds = [kind]
    while len(kinds) < count:
        fitting = [k for k in COLOURABLE if k not in kinds and not makes_held_out(k, background, kinds)]
        kinds.append(dice.pick(fitting))
    return background, kinds


def new_sticker(
    dice: Dice, kind: int, recolour: float = 0.5, size: int | None = None, colour: int | None = None
) -> Sticker:
    """A sticker of class `kind`, not placed yet; `recolour` is the chance of a random colour where the class has
    several."""
    if colour is None:
        colour = dice.between(1, len(COLOURS) - 1) if kind in _COLOURABLE and dice.chance(recolour) else 0
        colour = 0 if COLOURS[colour] == OWN_COLOUR.get(CLASSES[kind]) else colour
    size = dice.below(len(SIZES)) if size is None else size
    return Sticker(kind, colour, size, dice.below(len(TURNS)), dice.chance(0.5), 0, 0)


def scatter(dice: Dice, stickers: list[Sticker]) -> list[Sticker]:
    """Place stickers where there is room: of seven random places each takes the first that touches no other, or the
    best."""
    placed: list[Sticker] = []
    order = sorted(range(len(stickers)), key=lambda n: -stickers[n].size)  # the biggest first: it lies behind
    for sticker in (stickers[n] for n in order):
        half = SIZES[sticker.size] // 2
        best, best_gap = sticker, -GRID
        for _ in range(7):
            x, y = dice.between(half, GRID - half), dice.between(half, GRID - half)
            gap = min((max(abs(x - s.x), abs(y - s.y)) - half - SIZES[s.size] // 2 for s in placed), default=0)
            if gap > best_gap:
                best, best_gap = sticker._replace(x=x, y=y), gap
            if gap >= 0:
                break
        placed.append(best)
    return [placed[order.index(n)] for n in range(len(stickers))]  # in the order given


def compose(dice: Dice, split: Split, background: int, stickers: list[Sticker]) -> Scene:
    """The scene of these placed stickers; big ones lie behind small ones, so that none is hidden."""
    piece = (dice.below(GRID + 1), dice.below(GRID + 1), dice.chance(0.5))
    return Scene(background, split.bank, dice.below(PER_KIND), piece, tuple(sorted(stickers, key=lambda s: -s.size)))


def random_scene(dice: Dice, split: Split, count: int, recolour: float = 0.5, hard: bool = False) -> Scene:
    """A scene of `count` stickers of different classes; `hard` gives them all one size and colours that look alike."""
    background, kinds = cast(dice, split, count, alike=hard)
    size = dice.below(len(SIZES) if count < 3 else BIG) if hard else None  # three big ones would hide each other
    stickers = [new_sticker(dice, kind, recolour, size) for kind in kinds]
    return compose(dice, split, background, scatter(dice, stickers))


def single_scene(dice: Dice, split: Split, kind: int, size: int | None = None, colour: int = 0) -> Scene:
    """A scene of one sticker of class `kind`, in its own colours unless told otherwise."""
    allowed = [ground for ground in range(len(BACKGROUNDS)) if split.held_out == is_held_out(ground, [kind])]
    background = dice.pick(allowed or range(len(BACKGROUNDS)))
    sticker = new_sticker(dice, kind, size=size, colour=colour)
    return compose(dice, split, background, scatter(dice, [sticker]))


def draw(scene: Scene, size: int = GRID, image: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Paint a scene.

    Returns:
        image: (size, size, 3) uint8; painted into `image` where one is given.
        owner: (size, size) uint8, whose pixel it is: 0 the background, i + 1 the visible part of sticker i.
    """
    image = np.empty((size, size, 3), np.uint8) if image is None else image
    owner = np.zeros((size, size), np.uint8)
    row, column, mirrored = scene.piece
    row, column = row * size // GRID, column * size // GRID
    ground = texture(scene.background, scene.bank, scene.texture, 2 * size)[row : row + size, column : column + size]
    image[:] = ground[:, ::-1] if mirrored else ground
    for number, sticker in enumerate(scene.stickers, start=1):
        colour, keep, solid = sprite(sticker.kind, sticker.colour, sticker.size, sticker.turn, size)
        if sticker.mirrored:
            colour, keep, solid = colour[:, ::-1], keep[:, ::-1], solid[:, ::-1]
        height, width = solid.shape
        top, left = sticker.y * size // GRID - height // 2, sticker.x * size // GRID - width // 2
        y0, y1, x0, x1 = max(0, top), min(size, top + height), max(0, left), min(size, left + width)
        inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        part = image[y0:y1, x0:x1]
        part[:] = (part * keep[inside] + colour[inside]) >> 8  # alpha blending in whole numbers
        owner[y0:y1, x0:x1][solid[inside]] = number
    return image, owner
