"""A loss in which the few count more  (10 minutes, difficulty 2 of 5)

LAVT is trained with a cross entropy over two classes, background and
referent. Most pixels are background; so each pixel's loss is multiplied by
the weight of its true class, 0.9 for background (class 0) and 1.1 for the
referent (class 1). The mean that remains is a weighted one: the sum of the
weighted losses divided by the sum of the weights that were used.
"""

import torch


# %% solution
def weighted_loss(logits, mask, weights):
    """logits (B, 2, H, W), mask (B, H, W) of 0 and 1, weights (2) -> one number."""
    log_p = logits.log_softmax(dim=1)
    pixel = -log_p.gather(1, mask[:, None])[:, 0]  # (B, H, W)
    weight = weights[mask]  # (B, H, W)
    return (weight * pixel).sum() / weight.sum()


# %% check: class weights against torch.nn.functional.cross_entropy
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, height, width, weights in [(2, 3, 4, (0.9, 1.1)), (3, 4, 2, (0.25, 3.0)), (1, 5, 5, (1.4, 0.7))]:
        mask = (random(batch, height, width) > 0.7).long()
        mask[0, 0, 0] = 1
        yield {
            "logits": random(batch, 2, height, width) * 2,
            "mask": mask,
            "weights": torch.tensor(weights, dtype=torch.float64),
        }


def reference(logits, mask, weights):
    return F.cross_entropy(logits, mask, weight=weights)


def flawed(logits, mask, weights, mean="weights", use="true", over=1, place="loss", pick="true"):
    weights = {"true": weights, "swapped": weights.flip(0), "none": torch.ones_like(weights)}[use]
    if place == "logits":
        logits = logits * weights[:, None, None]
    log_p = logits.log_softmax(dim=over)
    pixel = -log_p.gather(1, mask[:, None] if pick == "true" else 1 - mask[:, None])[:, 0]
    weight = weights[mask] if place == "loss" else torch.ones_like(pixel)
    total = weight * pixel
    if mean == "pictures":
        return (total.sum((1, 2)) / weight.sum((1, 2))).mean()
    return total.sum() / {"weights": weight.sum(), "pixels": float(mask.numel()), "sum": 1.0}[mean]


def binary(logits, mask, weights):
    share = logits.sigmoid()
    both = -(mask * share[:, 1].log() + (1 - mask) * (1 - share[:, 1]).log())
    weight = weights[mask]
    return (weight * both).sum() / weight.sum()


MISTAKES = [
    Mistake("the sum divided by the number of pixels", mean="pixels",
            fix="Divide by the sum of the weights that were used: that is what torch calls mean."),
    Mistake("the mean without class weights", use="none"),
    Mistake("the loss with the two weights swapped", use="swapped",
            fix="weights[0] belongs to the background, mask 0."),
    Mistake("the sum, not a mean", mean="sum", fix="Divide by the sum of the weights."),
    Mistake("the mean of each picture's own mean", mean="pictures", fix="All pixels of the batch are one sum."),
    Mistake("the weights on the logits", place="logits", fix="They multiply the loss of a pixel."),
    Mistake("a softmax over the rows of the picture", over=2, fix="Over the classes: dim=1."),
    Mistake("the log probability of the wrong class", pick="other"),
    Mistake("a sigmoid of the second channel, the first one ignored", binary,
            fix="Two channels, one softmax: only their difference counts."),
]

TASKS = [
    Task("weighted_loss", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("logits",),
         like="cross_entropy with weight", forbidden=("cross_entropy", "nll_loss", "CrossEntropyLoss", "NLLLoss")),
]


# %% hints
HINTS = [
    ("Where to begin", "`logits.log_softmax(dim=1)`: the classes are axis 1."),
    ("The loss of each pixel",
     "Minus the log probability of its true class: `-log_p.gather(1, mask[:, None])[:, 0]` is (B, H, W)."),
    ("Close, but not equal", "`weights[mask]` is (B, H, W). Divide by its sum, not by the number of pixels."),
]
