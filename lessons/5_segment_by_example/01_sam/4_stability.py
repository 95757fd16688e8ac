"""How steady is a mask?  (10 minutes, difficulty 2 of 5)

A mask is where its logits are above 0. A good one hardly changes when that
threshold moves. Its stability score is the IoU of two masks: at the threshold
+ offset and at the threshold - offset. One lies inside the other, so that it
is a share of two counts (SAM's `calculate_stability_score`). An empty outer
mask has no score: NaN.
"""

import torch


# %% solution
def stability(logits, offset):
    """logits (M, H, W), offset above 0 -> (M), between 0 and 1, or NaN."""
    inner = (logits > offset).sum(dim=(-2, -1))
    outer = (logits > -offset).sum(dim=(-2, -1))
    return inner / outer


# %% check: two masks as sets of pixels, their IoU counted
from lessons.checker import Mistake, Task


def cases(random):
    for masks, height, width, offset in [(4, 5, 6, 0.5), (3, 4, 4, 1.0), (5, 3, 7, 0.25)]:
        logits = random(masks, height, width)
        logits[0] -= 9  # empty
        yield {"logits": logits, "offset": offset}


def reference(logits, offset):
    scores = []
    for mask in logits:
        inner = {place for place, value in enumerate(mask.flatten().tolist()) if value > offset}
        outer = {place for place, value in enumerate(mask.flatten().tolist()) if value > -offset}
        scores.append(len(inner & outer) / len(inner | outer) if outer else float("nan"))
    return torch.tensor(scores)


def flawed(logits, offset, up=1.0, down=1.0, turn=False, over=(-2, -1), empty=None, area=False):
    inner, outer = (logits > up * offset).sum(dim=over), (logits > -down * offset).sum(dim=over)
    inner, outer = (outer, inner) if turn else (inner, outer)
    score = inner / (logits.shape[-1] * logits.shape[-2]) if area else inner / outer
    return score if empty is None else score.nan_to_num(empty)


MISTAKES = [
    Mistake("the score turned round, above 1", turn=True, fix="The smaller mask goes on top."),
    Mistake("the score of the raised threshold against the mask itself", down=0.0, fix="Lower it as well."),
    Mistake("the score of the mask itself against the lowered threshold", up=0.0, fix="Raise it as well."),
    Mistake("the share of the whole picture", area=True, fix="Divide by the larger mask's pixels."),
    Mistake("the score with 0 for an empty mask", empty=0.0,
            fix="0 / 0 stays NaN: it fails any threshold, and passes where none is asked."),
    Mistake("the score with 1 for an empty mask", empty=1.0, fix="0 / 0 stays NaN."),
    Mistake("the score with half the offset", up=0.5, down=0.5, fix="The offset goes up and down whole."),
]

TASKS = [
    Task("stability", cases, reference=lambda logits, offset: reference(logits, offset).to(torch.get_default_dtype()),
         flawed=flawed, mistakes=MISTAKES,
         tolerance=1e-6,  # counts divided as whole numbers make a float32
         like="the IoU of two sets of pixels"),
]


# %% hints
HINTS = [
    ("Which one is smaller?", "The higher the threshold, the fewer pixels: `logits > offset` lies in `> -offset`."),
    ("One number a mask", "Count over both picture axes: `.sum(dim=(-2, -1))`."),
    ("0 / 0", "Divide the counts as they are: torch makes NaN of it, and that is what is asked."),
]
