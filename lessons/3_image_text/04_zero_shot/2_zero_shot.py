"""Zero-shot probabilities  (10 minutes, difficulty 1 of 5)

A picture's embedding meets the classifier of 3.4.1, whose rows have length
1: normalise the picture, take the scaled cosines, and a softmax over the
classes.

    {"logits": (B, C), "probabilities": (B, C), "best": (B)}

`best` is the number of the likeliest class of each picture (int64).
"""

import torch


# %% solution
def zero_shot(image, classifier, logit_scale):
    """image (B, E) as it comes, classifier (C, E) of length 1, logit_scale () a logarithm -> dict of three tensors."""
    logits = logit_scale.exp() * (image / image.norm(dim=-1, keepdim=True)) @ classifier.T
    return {"logits": logits, "probabilities": logits.softmax(dim=-1), "best": logits.argmax(dim=-1)}


# %% check: probabilities against torch's cosine similarity and softmax
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, classes, dim, scale in [(2, 3, 4, 2.0), (4, 2, 3, 1.0), (3, 3, 5, 3.0)]:
        yield {
            "image": random(batch, dim) * 3,
            "classifier": F.normalize(random(classes, dim), dim=-1),
            "logit_scale": torch.tensor(scale, dtype=torch.float64),
        }


def reference(image, classifier, logit_scale):
    cosine = F.cosine_similarity(image[:, None], classifier[None], dim=-1)
    logits = cosine * torch.exp(logit_scale)
    probabilities = torch.softmax(logits, dim=1)
    return {"logits": logits, "probabilities": probabilities, "best": probabilities.max(dim=1).indices}


def flawed(
    image,
    classifier,
    scale,
    normal=True,
    factor=torch.exp,
    squash=lambda x: x.softmax(dim=-1),
    best=lambda x: x.argmax(-1),
):
    image = image / image.norm(dim=-1, keepdim=True) if normal else image
    logits = factor(scale) * image @ classifier.T
    return {"logits": logits, "probabilities": squash(logits), "best": best(logits)}


MISTAKES = [
    Mistake("the answer with pictures not normalised", normal=False, fix="image / image.norm(dim=-1, keepdim=True)."),
    Mistake("the answer without the scale: all classes look equally likely", factor=lambda s: 1.0),
    Mistake("the answer with logit_scale itself as factor", factor=lambda s: s, fix="logit_scale.exp()."),
    Mistake("the answer with a softmax over the pictures", squash=lambda x: x.softmax(dim=0), fix="dim=-1."),
    Mistake("the answer with a sigmoid for each class instead of a softmax", squash=torch.sigmoid),
    Mistake("the answer with the likeliest picture of each class as best", best=lambda x: x.argmax(0), fix="dim=-1."),
    Mistake("the answer with the unlikeliest class as best", best=lambda x: x.argmin(-1), fix="argmax."),
    Mistake("the answer with logarithms of the probabilities", squash=lambda x: x.log_softmax(dim=-1)),
]

TASKS = [
    Task("zero_shot", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=(),
         like="torch's cosine similarity and softmax"),
]


# %% hints
HINTS = [
    ("The logits are off in every row by another factor", "Rows of image have lengths of their own: divide by them."),
    ("The probabilities do not sum to one", "They do along the classes, `dim=-1`."),
    ("best is wrong", "argmax along the classes; argmax of the logits is the same."),
]
