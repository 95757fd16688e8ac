"""What is trained on and what is not: four splits, apart by seed, by background picture and by combination.

Scene number n of a split is made from seed `first_seed + n`, so that splits share no scene. Each split but the last
pair draws its backgrounds from a bank of its own. A few combinations (a class on one background, two classes together)
occur in `HELD_OUT` alone, and there in every scene.
"""

from typing import NamedTuple

from .sheet import CLASS_NUMBER, CLASSES
from .textures import BACKGROUNDS


class Split(NamedTuple):
    """A range of seeds, a bank of background pictures, and whether its scenes show held-out combinations (all do, or
    none does)."""

    name: str
    first_seed: int
    bank: int
    held_out: bool = False

    def seed(self, number: int) -> int:
        """The seed of this split's scene `number`."""
        if not 0 <= number < 10**12:
            raise ValueError(f"scene number {number} is outside the split {self.name}: give one from 0 to 10**12 - 1.")
        return self.first_seed + number


TRAIN = Split("train", 0, 0)
VAL = Split("val", 10**12, 1)
TEST = Split("test", 2 * 10**12, 2)
HELD_OUT = Split("held-out", 3 * 10**12, 2, held_out=True)
SPLITS = {split.name: split for split in (TRAIN, VAL, TEST, HELD_OUT)}

# Few, so that "never together" is no rule worth learning: 12 of 384 class-background pairs, 12 of 2016 class pairs.
HELD_OUT_GROUNDS = (
    ("dog", "water"), ("penguin", "sand"), ("turtle", "night"), ("tree", "sky"), ("car", "wood"), ("rocket", "grass"),
    ("balloon", "water"), ("pizza", "sand"), ("guitar", "night"), ("crown", "sky"), ("apple", "wood"),
    ("shoe", "grass"),
)  # fmt: skip
HELD_OUT_PAIRS = (
    ("cat", "umbrella"), ("fox", "drum"), ("panda", "boat"), ("frog", "crown"), ("owl", "clock"), ("octopus", "tent"),
    ("crab", "gift"), ("cactus", "train"), ("banana", "robot"), ("donut", "key"), ("heart", "bucket"), ("bus", "ghost"),
)  # fmt: skip

GROUNDS = tuple((CLASS_NUMBER[name], BACKGROUNDS.index(ground)) for name, ground in HELD_OUT_GROUNDS)
PAIRS = tuple((CLASS_NUMBER[a], CLASS_NUMBER[b]) for a, b in HELD_OUT_PAIRS)
_GROUND = dict(GROUNDS)
_PARTNER = dict(PAIRS) | {b: a for a, b in PAIRS}


def is_held_out(background: int, kinds: list[int]) -> bool:
    """Whether these classes on this background show a combination that training never sees."""
    return any(_GROUND.get(kind) == background or _PARTNER.get(kind) in kinds for kind in kinds)


def makes_held_out(kind: int, background: int, kinds: list[int]) -> bool:
    """Whether adding class `kind` to these classes on this background would show a held-out combination."""
    return _GROUND.get(kind) == background or _PARTNER.get(kind) in kinds


def next_allowed(kind: int, background: int, kinds: list[int]) -> int:
    """The first class from `kind` on that is not there yet and makes no held-out combination with what is there."""
    while kind in kinds or makes_held_out(kind, background, kinds):
        kind = (kind + 1) % len(CLASSES)
    return kind
