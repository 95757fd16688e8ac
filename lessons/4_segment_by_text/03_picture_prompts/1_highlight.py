"""Show what is meant: highlight  (10 minutes, difficulty 1 of 5)

A picture prompt shows the object as it is and plays the rest down: outside
the mask stands a blurred copy, multiplied by a factor. Every picture has a
mask of its own. Pictures are normalised, so a factor of 0 means the mean
grey of the data, not black.

    object:      picture
    background:  factor * blurred
"""

import torch


# %% solution
def highlight(picture, mask, blurred, factor):
    """picture (B, 3, H, W), mask (B, H, W) bool, blurred (B, 3, H, W), factor a number -> (B, 3, H, W)."""
    return torch.where(mask[:, None], picture, factor * blurred)


# %% check: highlighting against a loop over pixels
from lessons.checker import Mistake, Task


def cases(random):
    for batch, height, width, factor in [(2, 4, 5, 0.1), (3, 3, 4, 0.5), (3, 5, 3, 0.0)]:
        yield {
            "picture": random(batch, 3, height, width),
            "mask": random(batch, height, width) > 0,
            "blurred": random(batch, 3, height, width),
            "factor": factor,
        }


def reference(picture, mask, blurred, factor):
    out = torch.empty_like(picture)
    batch, colours, height, width = picture.shape
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                for c in range(colours):
                    value = picture[b, c, y, x] if mask[b, y, x] else factor * blurred[b, c, y, x]
                    out[b, c, y, x] = value
    return out


def flawed(picture, mask, blurred, factor, turned=False, inside=1.0, blur=True, behind=None, own=True, rest="times"):
    mask = mask if own else mask[:1].expand_as(mask)
    mask = (~mask if turned else mask)[:, None]
    background = {"times": factor, "one": 1.0, "left": 1 - factor}[rest] * (blurred if blur else picture)
    background = torch.full_like(picture, behind) if behind is not None else background
    return torch.where(mask, (1 if inside == 1.0 else factor) * picture, background)


def colour_axis(picture, mask, blurred, factor):
    mask = mask[:1].expand(3, -1, -1) if len(mask) != 3 else mask  # three masks pass for three colours
    return torch.where(mask, picture, factor * blurred)


MISTAKES = [
    Mistake("the background shown and the object played down", turned=True, fix="The mask is the object."),
    Mistake("the highlight with the object multiplied too", inside=0.0, fix="The object stays as it is."),
    Mistake("the highlight with a sharp background", blur=False, fix="Take `blurred` outside the mask."),
    Mistake("the highlight without the factor", rest="one", fix="factor * blurred."),
    Mistake("the highlight with 1 - factor as factor", rest="left", fix="factor * blurred."),
    Mistake("the object alone on mean grey", behind=0.0, fix="Outside stands factor * blurred."),
    Mistake("the highlight with the first picture's mask for all", own=False,
            fix="Each picture has a mask of its own."),
    Mistake("the highlight with the masks taken for colours: with three pictures it runs", colour_axis,
            fix="mask[:, None]: the new axis is that of the colours."),
]

TASKS = [
    Task("highlight", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="a loop over the pixels"),
]


# %% hints
HINTS = [
    ("Where to begin", "`torch.where(condition, a, b)` takes a where the condition holds and b elsewhere."),
    ("The shapes do not fit",
     "(B, H, W) against (B, 3, H, W): the mask needs an axis for the colours, `mask[:, None]`."),
    ("It runs, and the numbers are wrong",
     "With B = 3, a mask of (3, H, W) is taken for the colours. Which axis is new?"),
]
