"""Find the bug: a loss set right by a tidy mind  (15 minutes, difficulty 3 of 5)

Somebody rewrote the loss with soft targets "so that both halves are proper
cross entropies, and the temperature does the same everywhere". The model
trained with it is another one. What has to be there: the released loss, as it is.
Logits are texts times pictures over the temperature; targets as in 3.13.2;
the texts' half is the cross entropy of logits and targets, the pictures'
half that of both transposed; the mean of both. Gradients flow through the
targets too. Two lines are wrong; every shape is right.
"""

import torch
import torch.nn.functional as F


# %% given: with its bugs
def soft_target_loss(image, text, temperature):
    """image (B, E), text (B, E), temperature a number -> loss ()."""
    logits = text @ image.T / temperature
    alike = (image @ image.T + text @ text.T) / 2
    targets = (alike / temperature).softmax(dim=-1)
    columns = targets.T / targets.T.sum(dim=-1, keepdim=True)
    of_texts = F.cross_entropy(logits, targets)
    of_images = F.cross_entropy(logits.T, columns)
    return (of_texts + of_images) / 2


# %% solution
def soft_target_loss(image, text, temperature):
    logits = text @ image.T / temperature
    alike = (image @ image.T + text @ text.T) / 2
    targets = (alike * temperature).softmax(dim=-1)
    of_texts = F.cross_entropy(logits, targets)
    of_images = F.cross_entropy(logits.T, targets.T)
    return (of_texts + of_images) / 2


# %% check: the loss against sums over pairs, with gradients
from lessons.checker import Mistake, Task


def cases(random):
    for batch, dim, temperature in [(3, 4, 1.0), (5, 3, 2.5), (4, 4, 0.5)]:
        yield {"image": random(batch, dim), "text": random(batch, dim), "temperature": temperature}


def reference(image, text, temperature):
    products = torch.stack([torch.stack([torch.dot(t, i) for i in image]) for t in text]) / temperature
    total = 0
    for row in range(len(text)):
        alike = torch.stack([
            temperature * (torch.dot(image[row], image[n]) + torch.dot(text[row], text[n])) / 2
            for n in range(len(text))
        ])
        shares = alike.exp() / alike.exp().sum()
        for column in range(len(image)):
            surprise = 2 * products[row, column] - torch.logsumexp(products[row], 0)
            total = total - shares[column] * (surprise - torch.logsumexp(products[:, column], 0))
    return total / (2 * len(text))


def flawed(image, text, temperature, *, detached=False, normalised=False, halves=(0.5, 0.5), transposed=True,
           cosine=False, way="times", hard=False):
    if cosine:
        image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    logits = text @ image.T / temperature
    alike = (image @ image.T + text @ text.T) / 2
    targets = (alike * temperature if way == "times" else alike / temperature).softmax(dim=-1)
    targets = targets.detach() if detached else targets
    targets = torch.eye(len(text), dtype=text.dtype) if hard else targets
    other = targets.T if transposed else targets
    other = other / other.sum(dim=-1, keepdim=True) if normalised else other
    return halves[0] * F.cross_entropy(logits, targets) + halves[1] * F.cross_entropy(logits.T, other)


MISTAKES = [
    Mistake("that of the file as you were given it: both bugs are still in it", way="divided", normalised=True),
    Mistake("the loss with targets divided by the temperature: one bug is left", way="divided",
            fix="The similarities are multiplied by it."),
    Mistake("the loss with the transposed targets' rows made to sum to one: one bug is left", normalised=True,
            fix="The released loss takes targets.T as it is."),
    Mistake("the loss with the pictures' targets not transposed", transposed=False),
    Mistake("the texts' half alone", halves=(1, 0)),
    Mistake("the pictures' half alone", halves=(0, 1)),
    Mistake("the sum of both halves: that line was right", halves=(1, 1)),
    Mistake("the loss of cosines: nothing is normalised in training", cosine=True),
    Mistake("the loss with targets that carry no gradient", detached=True,
            fix="The released loss has no detach()."),
    Mistake("CLIP's one right answer in place of the soft targets", hard=True),
]

TASKS = [
    Task("soft_target_loss", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("image", "text"), like="sums over pairs"),
]


# %% hints
HINTS = [
    ("Where to look", "Compare with the text line by line. Which lines does it not ask for?"),
    ("The loss is right and the gradients are not", "What stops a gradient?"),
    ("Right where all pairs are unlike", "There the targets are one-hot, and the rows of the transposed sum to one."),
]
