"""Captions: what a person might say of a scene, "a small red car left of a dog, with a tree, on grass".

"a left of b" means: seen from b, a lies more to the left than it lies up or down (by half as much again). Size words
are "small" and "big", the middle size has none. Only classes that come in several colours are called by colour.
"""

from .scenes import Dice, Scene, Sticker
from .textures import BACKGROUNDS

GROUND_WORDS = {
    "grass": "on grass",
    "sand": "on sand",
    "sky": "in the sky",
    "water": "on water",
    "night": "at night",
    "wood": "on wood",
}
SIZE_WORDS = ("small ", "", "big ")
RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
NEAREST = 8  # grid steps: closer than this no relation is stated


def with_article(words: str) -> str:
    """ "a dog", "an owl"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def describe(sticker: Sticker, size: bool = True, colour: bool = True) -> str:
    """The sticker in words, without article: "small red car"."""
    colour_word = f"{sticker.colour_name} " if colour and sticker.colour_name else ""
    return f"{SIZE_WORDS[sticker.size] if size else ''}{colour_word}{sticker.name}"


def relation(a: Sticker, b: Sticker) -> str:
    """Where `a` lies seen from `b`: one of RELATIONS, or "" where that is not plain to see."""
    across, down = a.x - b.x, a.y - b.y
    if abs(across) >= NEAREST and 2 * abs(across) >= 3 * abs(down):
        return "left of" if across < 0 else "right of"
    if abs(down) >= NEAREST and 2 * abs(down) >= 3 * abs(across):
        return "above" if down < 0 else "below"
    return ""


def listed(phrases: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def caption(dice: Dice, scene: Scene, rich: bool = False) -> str:
    """One caption of the scene, its stickers in random order; a `rich` one leaves nothing out, others may."""
    size, colour, ground, related = (rich or dice.chance(p) for p in (0.7, 0.7, 0.8, 0.5))
    stickers = dice.shuffled(scene.stickers)
    phrases = [with_article(describe(sticker, size, colour)) for sticker in stickers]
    where = relation(*stickers[:2]) if related and len(stickers) > 1 else ""
    if where:
        words = f"{phrases[0]} {where} {phrases[1]}"
        if phrases[2:]:
            words += f", with {listed(phrases[2:])}"
    else:
        words = listed(phrases)
    words = f"{words} {GROUND_WORDS[BACKGROUNDS[scene.background]]}" if ground else words
    return f"a picture of {words}" if not rich and dice.chance(0.15) else words
