"""The check of 3.3.6: the loss against a sum over pictures and captions."""

import torch
import torch.nn.functional as F

from lessons.checker import Mistake, Task

HINTS = [
    ("Where to look", "Print both parts of the loss for a random batch. How likely is it that they are equal?"),
    ("Try it small", "For which axis does each line ask its question?"),
    ("The line", "A transpose is there, but on a tensor with one axis, where it does nothing."),
]


def training_loss(image, text, logit_scale):
    image = F.normalize(image, dim=-1)
    text = F.normalize(text, dim=-1)
    logits = logit_scale.exp() * (image @ text.T)
    labels = torch.arange(len(logits))
    image_loss = F.cross_entropy(logits, labels)
    text_loss = F.cross_entropy(logits.T, labels)
    return (image_loss + text_loss) / 2


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


TASKS = [
    Task(
        "training_loss",
        cases,
        reference=reference,
        like="the symmetric loss",
        gradients=("image", "text", "logit_scale"),
        forbidden=("ClipLoss",),
        mistakes=[
            Mistake("that of the file as you were given it: the bug is still in it", flawed, weights=(1.0, 0.0)),
            Mistake("the loss of the captions alone: now the other half is missing", flawed, weights=(0.0, 1.0)),
            Mistake("the loss without the division by two: that line was right", flawed, weights=(1.0, 1.0)),
            Mistake("the loss with logit_scale not exponentiated: that line was right", flawed, factor=lambda s: s),
            Mistake("the loss of embeddings normalised over the batch: those lines were right", flawed, axis=0),
            Mistake("the loss with the labels in reverse order", flawed, reverse=True),
        ],
    )
]
