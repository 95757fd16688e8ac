"""Cosine logits  (10 minutes, difficulty 1 of 5)

CLIP compares directions: both embeddings are divided by their length, and
their products are multiplied with a learned scale, of which the logarithm
is stored:

    logits[i, t] = exp(logit_scale) * cosine(image i, text t)

Hand in `{"image": normalised, "text": normalised, "logits": (B, T)}`. The
cosine is that of `torch.nn.functional.cosine_similarity`.
"""

import torch


# %% solution
def clip_logits(image, text, logit_scale):
    """image (B, E), text (T, E), logit_scale () -> dict with image (B, E), text (T, E), logits (B, T)."""
    image = image / image.norm(dim=-1, keepdim=True)
    text = text / text.norm(dim=-1, keepdim=True)
    return {"image": image, "text": text, "logits": logit_scale.exp() * image @ text.T}


# %% check: logits against torch.nn.functional.cosine_similarity
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for images, texts, dim, scale in [(2, 3, 4, 1.5), (5, 2, 3, 0.3), (3, 3, 3, 2.0)]:
        scale = torch.tensor(scale, dtype=torch.float64)
        yield {"image": random(images, dim) * 3, "text": random(texts, dim), "logit_scale": scale}


def reference(image, text, logit_scale):
    cosine = torch.stack([F.cosine_similarity(picture[None], text, dim=-1) for picture in image])
    normed = [torch.stack([row / row.square().sum().sqrt() for row in rows]) for rows in (image, text)]
    return {"image": normed[0], "text": normed[1], "logits": cosine * torch.exp(logit_scale)}


def flawed(image, text, logit_scale, p=2, axis=-1, which="both", factor=torch.exp, turned=False):
    image = image / image.norm(p, dim=axis, keepdim=True) if which != "text" else image
    text = text / text.norm(p, dim=axis, keepdim=True) if which != "image" else text
    logits = factor(logit_scale) * image @ text.T
    return {"image": image, "text": text, "logits": logits.T if turned else logits}


MISTAKES = [
    Mistake("the logits without the image's normalisation", which="text",
            fix="Both sides are divided by their length."),
    Mistake("the logits without the text's normalisation", which="image",
            fix="Both sides are divided by their length."),
    Mistake("the logits with logit_scale itself as factor", factor=lambda s: s, fix="logit_scale.exp()."),
    Mistake("the cosines without any scale", factor=lambda s: 1.0, fix="Multiply by logit_scale.exp()."),
    Mistake("the cosines divided by exp(logit_scale)", factor=lambda s: torch.exp(-s), fix="Multiply."),
    Mistake("the logits transposed: texts in the rows", turned=True, fix="image @ text.T"),
    Mistake("the logits of embeddings normalised over the batch", axis=0, fix="norm(dim=-1, keepdim=True)."),
    Mistake("the logits of embeddings divided by the sum of their absolute values", p=1, fix="The length is p=2."),
]

TASKS = [
    Task("clip_logits", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("image", "text", "logit_scale"), like="torch.nn.functional.cosine_similarity, scaled"),
]


# %% hints
HINTS = [
    ("How long is a vector?", "`image.norm(dim=-1, keepdim=True)`, one length a row."),
    ("The logits are a constant factor off", "The stored number is a logarithm: `logit_scale.exp()`."),
    ("The logits are transposed", "Rows are pictures: image @ text.T."),
]
