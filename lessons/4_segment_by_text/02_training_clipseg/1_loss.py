"""The segmentation loss  (15 minutes, difficulty 2 of 5)

Binary cross entropy asks each pixel alone; most pixels are background, so a
small sticker hardly counts. The Dice loss asks each mask as a whole. Tiny
CLIPSeg's loss is

    4 * cross entropy + 0.5 * Dice loss

Cross entropy: of the logits, the mean over all pixels of all masks. Dice
loss: for each mask, with p the probabilities and m the truth (sums over its
pixels), 1 - (2 * sum(p m) + 1) / (sum(p) + sum(m) + 1), then the mean over
the masks. `binary_cross_entropy_with_logits` is allowed.
"""

import torch
import torch.nn.functional as F


# %% solution
def segmentation_loss(logits, mask):
    """logits (B, P, H, W), mask (B, P, H, W) bool -> loss ()."""
    wanted, share = mask.to(logits.dtype), logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, wanted)
    overlap = 2 * (share * wanted).sum(dim=(-2, -1)) + 1
    dice = 1 - overlap / (share.sum(dim=(-2, -1)) + wanted.sum(dim=(-2, -1)) + 1)
    return 4 * cross + 0.5 * dice.mean()


# %% check: the loss against one written pixel by pixel with logsigmoid
from lessons.checker import Mistake, Task


def cases(random):
    for batch, prompts, height, width in [(2, 3, 4, 5), (1, 2, 6, 3), (3, 1, 3, 3)]:
        mask = random(batch, prompts, height, width) > 0.3
        mask[0, 0] = False  # a prompt for something that is not there
        yield {"logits": random(batch, prompts, height, width) * 2, "mask": mask}


def reference(logits, mask):
    pixels, dice = [], []
    for one, truth in zip(logits.flatten(0, 1), mask.flatten(0, 1)):
        pixels.append(torch.where(truth, -F.logsigmoid(one), -F.logsigmoid(-one)))
        inside = torch.sigmoid(one)[truth].sum()
        dice.append(1 - (2 * inside + 1) / (torch.sigmoid(one).sum() + int(truth.sum()) + 1))
    return 4 * torch.cat(pixels).mean() + torch.stack(dice).mean() / 2


def flawed(
    logits,
    mask,
    factors=(4, 0.5),
    double=False,
    smooth=(1, 1),
    axes=(-2, -1),
    share=torch.sigmoid,
    twice=2,
    reduction="mean",
    turned=False,
):
    wanted = mask.to(logits.dtype)
    cross = F.binary_cross_entropy_with_logits(logits.sigmoid() if double else logits, wanted, reduction=reduction)
    part = share(logits)
    overlap = twice * (part * wanted).sum(dim=axes) + smooth[0]
    ratio = overlap / (part.sum(dim=axes) + wanted.sum(dim=axes) + smooth[1])
    dice = ratio if turned else 1 - ratio
    return factors[0] * cross + factors[1] * dice.mean()


def iou_loss(logits, mask):
    wanted, share = mask.to(logits.dtype), logits.sigmoid()
    both = (share * wanted).sum(dim=(-2, -1))
    either = share.sum(dim=(-2, -1)) + wanted.sum(dim=(-2, -1)) - both
    cross = F.binary_cross_entropy_with_logits(logits, wanted)
    return 4 * cross + 0.5 * (1 - (both + 1) / (either + 1)).mean()


MISTAKES = [
    Mistake("the cross entropy alone: no Dice loss", factors=(4, 0)),
    Mistake("the Dice loss alone: no cross entropy", factors=(0, 0.5)),
    Mistake("the sum of both without their factors", factors=(1, 1), fix="4 * cross + 0.5 * dice."),
    Mistake("the loss with a sigmoid before a function that takes logits", double=True,
            fix="binary_cross_entropy_with_logits applies the sigmoid itself."),
    Mistake("the loss whose Dice is taken over all masks of a picture together", axes=(-3, -2, -1),
            fix="Sum over the last two axes: a small mask counts as much as a large one."),
    Mistake("the loss whose Dice is taken over the whole batch at once", axes=(0, 1, 2, 3),
            fix="One number for each mask, then the mean."),
    Mistake("the loss without the ones in the Dice: an empty mask can never be right", smooth=(0, 0),
            fix="+ 1 above and below the line."),
    Mistake("the loss with the one in the Dice's denominator only", smooth=(0, 1), fix="Above as well."),
    Mistake("the loss with the Dice of logits", share=lambda x: x, fix="Probabilities: logits.sigmoid()."),
    Mistake("the loss with the Dice of masks of 0 and 1, through which no gradient flows",
            share=lambda x: (x > 0).to(x.dtype) + 0 * x, fix="Leave the probabilities as they are."),
    Mistake("the loss without the 2 in the Dice", twice=1),
    Mistake("the loss with the Dice itself: it would punish a right mask", turned=True, fix="1 - ..."),
    Mistake("the loss with the cross entropy summed over the pixels", reduction="sum", fix="The mean."),
    Mistake("the loss with 1 - IoU in place of the Dice loss", iou_loss, fix="2 * both / (p + m), not a union."),
]

TASKS = [
    Task("segmentation_loss", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("logits",),
         like="the loss summed pixel by pixel"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "`F.binary_cross_entropy_with_logits(logits, mask.to(logits.dtype))` takes logits, not probabilities."),
    ("The Dice loss", "Sum over the last two axes, `sum(dim=(-2, -1))`: one number for each mask, then their mean."),
    ("Close, but not equal",
     "The 1 stands above and below the line, for each mask; the probabilities are not rounded to 0 and 1."),
]
