"""Soft targets  (10 minutes, difficulty 2 of 5)

Which picture may a text choose? The more two pairs are alike, the more of
the answer they share. Of pictures (B, E) and texts (B, E), not normalised:
the mean of the products among the pictures and among the texts, times the
temperature, and a softmax along each row. Like the targets of
github.com/moein-shariatnia/OpenAI-CLIP.
"""

import torch
import torch.nn.functional as F


# %% solution
def soft_targets(image, text, temperature):
    """image (B, E), text (B, E), temperature a number -> targets (B, B), each row sums to one."""
    alike = (image @ image.T + text @ text.T) / 2
    return (alike * temperature).softmax(dim=-1)


# %% check: the targets against a loop over pairs
from lessons.checker import Mistake, Task


def cases(random):
    for batch, dim, temperature in [(3, 4, 1.0), (5, 3, 0.5), (4, 4, 2.5), (2, 3, 0.3)]:
        yield {"image": random(batch, dim), "text": random(batch, dim), "temperature": temperature}


def reference(image, text, temperature):
    rows = []
    for i in range(len(image)):
        alike = [temperature * (torch.dot(image[i], image[j]) + torch.dot(text[i], text[j])) / 2
                 for j in range(len(image))]
        shares = torch.stack(alike).exp()
        rows.append(shares / shares.sum())
    return torch.stack(rows)


def flawed(image, text, temperature, *, way="times", axis=-1, sides=(0.5, 0.5), cosine=False, cross=False, hard=False):
    if cosine:
        image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    alike = text @ image.T if cross else sides[0] * image @ image.T + sides[1] * text @ text.T
    if hard:
        return torch.eye(len(image), dtype=image.dtype)
    return {"times": alike * temperature, "divided": alike / temperature, "none": alike}[way].softmax(dim=axis)


MISTAKES = [
    Mistake("the targets divided by the temperature", way="divided",
            fix="The logits are divided by it; the targets, oddly, are multiplied."),
    Mistake("the targets without the temperature", way="none"),
    Mistake("the softmax down the columns", axis=0, fix="dim=-1: each row sums to one."),
    Mistake("the sum of both similarities, not their mean", sides=(1, 1), fix="Divide by 2 before the softmax."),
    Mistake("the targets of the pictures alone", sides=(1, 0)),
    Mistake("the targets of the texts alone", sides=(0, 1)),
    Mistake("the targets of cosines", cosine=True, fix="The embeddings stay as they are."),
    Mistake("the texts held against the pictures: those are the logits", cross=True,
            fix="Pictures with pictures, texts with texts."),
    Mistake("one right answer in each row, as CLIP has it", hard=True),
]

TASKS = [
    Task("soft_targets", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("image", "text"),
         like="a loop over pairs"),
]


# %% hints
HINTS = [
    ("Where to begin", "Two (B, B) tables, one of pictures with pictures and one of texts with texts."),
    ("Columns sum to one and rows do not", "The softmax runs along the last axis."),
    ("Right at temperature 1 alone", "Is the temperature a factor or a divisor here?"),
]
