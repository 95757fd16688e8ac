"""Find the bug: a model that learns half  (10 minutes, difficulty 3 of 5)

Somebody's training step. The loss falls nicely and pictures find their
captions; captions find their pictures far worse than they should. It ought
to be CLIP's symmetric loss. One line is wrong; every shape is right.
"""

import torch
import torch.nn.functional as F


# %% given: with its bug
def training_loss(image, text, logit_scale):
    """image (B, E), text (B, E), logit_scale () the logarithm of the scale -> loss ()."""
    image = F.normalize(image, dim=-1)
    text = F.normalize(text, dim=-1)
    logits = logit_scale.exp() * (image @ text.T)
    labels = torch.arange(len(logits))
    image_loss = F.cross_entropy(logits, labels)
    text_loss = F.cross_entropy(logits, labels.T)
    return (image_loss + text_loss) / 2


# %% solution
def training_loss(image, text, logit_scale):
    image = F.normalize(image, dim=-1)
    text = F.normalize(text, dim=-1)
    logits = logit_scale.exp() * (image @ text.T)
    labels = torch.arange(len(logits))
    image_loss = F.cross_entropy(logits, labels)
    text_loss = F.cross_entropy(logits.T, labels)
    return (image_loss + text_loss) / 2


# %% check: the loss against a sum over pictures and captions
from lessons.checker import Mistake, Task


def cases(random):
    for batch, dim, scale in [(3, 4, 1.0), (5, 3, 2.0), (4, 6, 0.5)]:
        scale = torch.tensor(scale, dtype=torch.float64)
        yield {"image": random(batch, dim) * 2, "text": random(batch, dim), "logit_scale": scale}


def reference(image, text, logit_scale):
    cosine = F.cosine_similarity(image[:, None], text[None], dim=-1)
    scores = cosine * torch.exp(logit_scale)
    rows = torch.logsumexp(scores, dim=1) - scores.diagonal()
    columns = torch.logsumexp(scores, dim=0) - scores.diagonal()
    return torch.cat([rows, columns]).mean()


def flawed(image, text, logit_scale, weights=(0.5, 0.5), factor=torch.exp, axis=-1, reverse=False):
    logits = factor(logit_scale) * F.normalize(image, dim=axis) @ F.normalize(text, dim=axis).T
    labels = torch.arange(len(logits))
    labels = labels.flip(0) if reverse else labels
    return weights[0] * F.cross_entropy(logits, labels) + weights[1] * F.cross_entropy(logits.T, labels)


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", weights=(1.0, 0.0)),
    Mistake("the loss of the captions alone: now the other half is missing", weights=(0.0, 1.0)),
    Mistake("the loss without the division by two: that line was right", weights=(1.0, 1.0)),
    Mistake("the loss with logit_scale not exponentiated: that line was right", factor=lambda s: s),
    Mistake("the loss of embeddings normalised over the batch: those lines were right", axis=0),
    Mistake("the loss with the labels in reverse order", reverse=True),
]

TASKS = [
    Task("training_loss", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("image", "text", "logit_scale"), like="the symmetric loss", forbidden=("ClipLoss",)),
]


# %% hints
HINTS = [
    ("Where to look", "Print both parts of the loss for a random batch. How likely is it that they are equal?"),
    ("Try it small", "For which axis does each line ask its question?"),
    ("The line", "A transpose is there, but on a tensor with one axis, where it does nothing."),
]
