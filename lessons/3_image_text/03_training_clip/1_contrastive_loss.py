"""The contrastive loss  (15 minutes, difficulty 2 of 5)

A batch of B pictures and their B captions, in the same order: picture i
belongs to caption i and to no other. Normalise both embeddings, take the
scaled cosines, and ask twice: which caption belongs to this picture (cross
entropy along each row), and which picture to this caption (along each
column). The loss is the mean of both (Radford et al. 2021, figure 3). Like
ClipLoss of open_clip on normalised embeddings.

`torch.nn.functional.cross_entropy` is allowed here; 3.3.2 looks inside.
"""

import torch
import torch.nn.functional as F


# %% solution
def contrastive_loss(image, text, logit_scale):
    """image (B, E), text (B, E), not normalised, logit_scale () the logarithm of the scale -> loss ()."""
    image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    logits = logit_scale.exp() * image @ text.T
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


# %% check: the loss against a sum over pictures and captions, with gradients
from lessons.checker import Mistake, Task


def cases(random):
    for batch, dim, scale in [(3, 4, 1.0), (5, 3, 2.0), (2, 6, 0.0), (4, 4, 1.5)]:
        scale = torch.tensor(scale, dtype=torch.float64)
        yield {"image": random(batch, dim) * 2, "text": random(batch, dim), "logit_scale": scale}


def reference(image, text, logit_scale):
    cosines = [[F.cosine_similarity(picture, words, dim=0) for words in text] for picture in image]
    scores = torch.stack([torch.stack(row) for row in cosines]) * torch.exp(logit_scale)
    total = 0
    for i in range(len(scores)):
        total = total + torch.logsumexp(scores[i], 0) - scores[i, i]
        total = total + torch.logsumexp(scores[:, i], 0) - scores[i, i]
    return total / (2 * len(scores))


def flawed(
    image,
    text,
    scale,
    directions=(1, 1),
    normal=(1, 1),
    factor=torch.exp,
    label=lambda b: torch.arange(b),
    reduction="mean",
):
    image = F.normalize(image, dim=-1) if normal[0] else image
    text = F.normalize(text, dim=-1) if normal[1] else text
    logits = factor(scale) * image @ text.T
    labels = label(len(logits))
    rows, columns = (F.cross_entropy(x, labels, reduction=reduction) for x in (logits, logits.T))
    return (directions[0] * rows + directions[1] * columns) / 2


def sigmoid_loss(image, text, scale):
    logits = scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    signs = 2 * torch.eye(len(logits), dtype=logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


MISTAKES = [
    Mistake("the loss in one direction only: each picture looks for its caption", directions=(2, 0),
            fix="Add the loss of logits.T."),
    Mistake("the loss in one direction only: each caption looks for its picture", directions=(0, 2),
            fix="Add the loss of logits itself."),
    Mistake("the sum of both directions, not their mean", directions=(2, 2), fix="Divide by 2."),
    Mistake("the loss of embeddings that were not normalised", normal=(0, 0), fix="F.normalize(..., dim=-1)."),
    Mistake("the loss with the images not normalised", normal=(0, 1)),
    Mistake("the loss with the texts not normalised", normal=(1, 0)),
    Mistake("the loss with logit_scale itself as factor", factor=lambda s: s, fix="logit_scale.exp()."),
    Mistake("the loss with a scale that carries no gradient", factor=lambda s: s.detach().exp(),
            fix="logit_scale.exp(), not .item() and not detach()."),
    Mistake("the loss without the scale", factor=lambda s: torch.ones_like(s)),
    Mistake("the loss with every label 0: all pictures were sent to the first caption",
            label=lambda b: torch.zeros(b, dtype=torch.long), fix="The labels are torch.arange(B)."),
    Mistake("the loss summed over the batch", reduction="sum", fix="Take the mean over the batch."),
    Mistake("the sigmoid loss of SigLIP, each pair on its own", sigmoid_loss,
            fix="CLIP's is a softmax over the batch."),
]

TASKS = [
    Task("contrastive_loss", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("image", "text", "logit_scale"), like="the symmetric loss, summed by hand",
         forbidden=("ClipLoss",)),
]


# %% hints
HINTS = [
    ("Where to begin",
     "logits as in 3.2.2, a square matrix; the right answers stand on its diagonal, so the labels are "
     "`torch.arange(B)`."),
    ("Half right", "The other direction is the same with logits.T."),
    ("The gradient of `logit_scale` is off", "It is used as `logit_scale.exp()`, and both directions count."),
]
