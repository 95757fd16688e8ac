"""What a prompt means: the target mask  (10 minutes, difficulty 1 of 5)

Training needs, for each prompt, the pixels that are right. A scene comes as
`owner`: for each pixel 0 where the background shows, i + 1 where sticker i
does. `kinds` names the class of each sticker. The target of a class prompt
is True on the pixels of ALL stickers of that class, and on none where the
class is not in the scene: a negative prompt.
"""

import torch


# %% solution
def target_mask(owner, kinds, asked):
    """owner (H, W) whole numbers, kinds a list of class names, asked a class name -> (H, W) bool."""
    numbers = [number for number, kind in enumerate(kinds, start=1) if kind == asked]
    return torch.isin(owner, torch.tensor(numbers, dtype=owner.dtype))


# %% check: targets against a loop over pixels
from lessons.checker import Mistake, Task


def cases(random):
    for kinds, asked in [
        (["dog", "owl", "dog"], "dog"),
        (["car", "owl"], "owl"),
        (["star", "bell", "key"], "rocket"),
        (["fish"], "fish"),
        (["car", "racing car"], "car"),
    ]:
        yield {"owner": random.integers(0, len(kinds) + 1, 5, 7), "kinds": kinds, "asked": asked}


def reference(owner, kinds, asked):
    rows = [[number > 0 and kinds[number - 1] == asked for number in row] for row in owner.tolist()]
    return torch.tensor(rows)


def flawed(owner, kinds, asked, shift=1, take="all", absent="nothing", invert=False, same=lambda a, b: a == b):
    numbers = [number + shift for number, kind in enumerate(kinds) if same(kind, asked)]
    numbers = {"all": numbers, "first": numbers[:1], "last": numbers[-1:]}[take]
    mask = torch.zeros(owner.shape, dtype=torch.bool)
    for number in numbers:
        mask = mask | (owner == number)
    if not numbers:
        mask = {"nothing": mask, "background": owner == 0, "everything": ~mask}[absent]
    return ~mask if invert else mask


MISTAKES = [
    Mistake("the target with stickers counted from 0", shift=0, fix="Sticker i has the number i + 1."),
    Mistake("the target of the first sticker of that class only", take="first",
            fix="All stickers of the class are meant."),
    Mistake("the target of the last sticker of that class only", take="last"),
    Mistake("the target that marks the background where the class is absent", absent="background",
            fix="A negative prompt's target is empty."),
    Mistake("the target that marks everything where the class is absent", absent="everything",
            fix="A negative prompt's target is empty."),
    Mistake("the target turned round: what is not meant", invert=True),
    Mistake("the target of every class whose name contains the word", same=lambda kind, asked: asked in kind,
            fix="Compare whole names: a racing car is another class than a car."),
]

TASKS = [
    Task("target_mask", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="a loop over the pixels"),
]


# %% hints
HINTS = [
    ("Where to begin", "`numbers = [i + 1 for i, kind in enumerate(kinds) if kind == asked]`, then `torch.isin`."),
    ("Two dogs, one found", "Every sticker of the class counts: collect all numbers, do not stop at the first."),
    ("The wrong sticker", "The background is 0, so sticker i has the number i + 1."),
]
