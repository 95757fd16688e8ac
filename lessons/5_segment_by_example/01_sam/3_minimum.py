"""Only the best answer learns  (15 minutes, difficulty 3 of 5)

A click may mean several things, so SAM gives M masks for each of P prompts,
and training knows one wanted mask a prompt. The loss of one mask is the binary
cross entropy of its logits, the mean over its pixels. The loss of a prompt is
that of its best mask alone. To it comes what the IoU head gets wrong, for all
masks: the mean squared difference between the IoU that it predicted and the
true IoU of the mask (logits above 0) with what was wanted. The whole loss is
the mean over prompts of the first, plus the second. No gradient flows into the
true IoU.
"""

import torch
import torch.nn.functional as F


# %% solution
def ambiguity_loss(logits, predicted, wanted):
    """logits (P, M, H, W), predicted (P, M), wanted (P, H, W) of 0 and 1 -> a number."""
    target = wanted[:, None].expand_as(logits)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(-2, -1))  # (P, M)
    mask, inside = logits > 0, target > 0
    true = (mask & inside).sum(dim=(-2, -1)) / (mask | inside).sum(dim=(-2, -1))  # (P, M)
    return losses.min(dim=1).values.mean() + (predicted - true).square().mean()


# %% check: prompt by prompt, mask by mask, with sigmoid and log spelled out
from lessons.checker import Mistake, Task


def cases(random):
    for prompts, masks, height, width in [(3, 3, 4, 5), (2, 4, 3, 3), (4, 2, 5, 2)]:
        wanted = (random(prompts, height, width) > 0).double()
        wanted[:, 0, 0], wanted[:, -1, -1] = 1.0, 0.0
        logits = 2 * random(prompts, masks, height, width) + wanted[:, None]
        yield {"logits": logits, "predicted": random(prompts, masks), "wanted": wanted}


def parts(logits, wanted):
    """Losses and true IoUs, (P, M) each."""
    losses, true = [], []
    for masks, target in zip(logits, wanted):
        for mask in masks:
            share = mask.sigmoid()
            losses.append(-(target * share.log() + (1 - target) * (1 - share).log()).mean())
            found = (mask > 0).double()
            both = (found * target).sum()
            true.append(both / (found.sum() + target.sum() - both))
    shape = logits.shape[:2]
    return torch.stack(losses).view(shape), torch.stack(true).view(shape)


def reference(logits, predicted, wanted):
    losses, true = parts(logits, wanted)
    return losses.amin(dim=1).mean() + (predicted - true).pow(2).mean()


def flawed(logits, predicted, wanted, which="min", of="masks", head="all", weight=1.0, threshold=0.0):
    losses, true = parts(logits, wanted)
    if threshold:
        true = parts(logits - threshold, wanted)[1]
    best = losses.argmin(dim=1, keepdim=True)
    if which == "trusted":
        learning = losses.gather(1, predicted.argmax(dim=1, keepdim=True))[:, 0]
    elif which == "max":
        learning = losses.amax(dim=1)
    elif which == "mean":
        learning = losses.mean(dim=1)
    else:
        learning = losses.amin(dim=1) if of == "masks" else losses.amin(dim=0)
    learning = losses.amin() if of == "all" else learning.mean()
    apart = (predicted - true).square()
    apart = apart.gather(1, best) if head == "best" else apart
    apart = (predicted.sigmoid() - true).square() if head == "sigmoid" else apart
    apart = (predicted - true).abs() if head == "absolute" else apart
    return learning + weight * apart.mean()


def pixel_minimum(logits, predicted, wanted):
    target = wanted[:, None].expand_as(logits)
    pixels = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return pixels.amin(dim=1).mean() + (predicted - parts(logits, wanted)[1]).square().mean()


MISTAKES = [
    Mistake("the loss in which all masks learn", which="mean",
            fix="The minimum over the masks: the others may mean something else."),
    Mistake("the loss in which the worst mask learns", which="max", fix="The minimum, not the maximum."),
    Mistake("the loss of the mask that the IoU head trusts most", which="trusted",
            fix="The best is the one with the smallest loss; what the head believes does not matter."),
    Mistake("the loss with one winner for the whole batch", of="all",
            fix="Each prompt has a best mask of its own: min over dim 1 first, then the mean."),
    Mistake("the loss with the minimum over prompts", of="prompts", fix="The masks are axis 1."),
    Mistake("the loss with the best mask chosen pixel by pixel", pixel_minimum,
            fix="First the mean over a mask's pixels, then the minimum."),
    Mistake("the loss whose IoU head learns from the best mask alone", head="best",
            fix="All masks have a true IoU that can be predicted."),
    Mistake("the loss with a sigmoid on the predicted IoU", head="sigmoid", fix="Take it as it is."),
    Mistake("the loss with absolute differences of the IoUs", head="absolute", fix="Square them."),
    Mistake("the loss without the IoU head", weight=0.0, fix="Add the squared difference."),
    Mistake("the loss with the true IoU at logits above 0.5", threshold=0.5,
            fix="A mask is where its logits are above 0: a probability of one half."),
]

TASKS = [
    Task("ambiguity_loss", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("logits", "predicted"),
         tolerance=1e-6,  # counts divided as whole numbers make a float32
         like="a loop over prompts and masks"),
]


# %% hints
HINTS = [
    ("One loss a mask",
     "`binary_cross_entropy_with_logits(..., reduction='none').mean(dim=(-2, -1))` is (P, M); wanted needs an axis for "
     "the masks: `wanted[:, None].expand_as(logits)`."),
    ("The best of them", "`losses.min(dim=1).values.mean()`: the minimum over the masks, then the mean over prompts."),
    ("True IoU",
     "With `mask = logits > 0` and `wanted > 0`: pixels in both, divided by pixels in either, (P, M). Every mask has "
     "one, also those that do not learn."),
]
