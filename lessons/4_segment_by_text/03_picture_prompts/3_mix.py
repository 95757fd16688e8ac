"""Between a text and a picture  (10 minutes, difficulty 1 of 5)

A text and a picture become vectors of the same space, so a prompt may lie
anywhere between them. Make a row of prompts, one for each weight w:

    w * text + (1 - w) * picture

Neither end is normalised before or after, as in the released models. Like
torch.lerp from picture to text.
"""

import torch


# %% solution
def mixes(text, picture, weights):
    """text (E), picture (E), weights (W) in 0-1 -> (W, E)."""
    return weights[:, None] * text + (1 - weights[:, None]) * picture


# %% check: mixes against torch.lerp
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for dim, count in [(4, 5), (5, 5), (7, 3)]:
        weights = torch.linspace(0, 1, count, dtype=torch.float64) ** 2
        yield {"text": random(dim) * 3, "picture": random(dim), "weights": weights}


def reference(text, picture, weights):
    return torch.stack([torch.lerp(picture, text, weight) for weight in weights])


def flawed(text, picture, weights, turned=False, before=False, after=False, curve="line", use=(1, 1)):
    text, picture = (F.normalize(x, dim=-1) if before else x for x in (text, picture))
    w = (1 - weights if turned else weights)[:, None]
    if curve == "root":
        out = w.sqrt() * text + (1 - w).sqrt() * picture
    elif curve == "sphere":
        cosine = F.cosine_similarity(text, picture, dim=0).clamp(-1, 1)
        angle = cosine.acos()
        out = ((w * angle).sin() * text + ((1 - w) * angle).sin() * picture) / angle.sin()
    else:
        out = use[0] * w * text + (1 - use[1] * w) * picture
    return F.normalize(out, dim=-1) if after else out


def chosen(text, picture, weights):
    return torch.where(weights[:, None] > 0.5, text, picture)


MISTAKES = [
    Mistake("the mixes with the weights turned round", turned=True, fix="w belongs to the text."),
    Mistake("mixes of normalised vectors", before=True, fix="The released models mix CLIP's embeddings as they come."),
    Mistake("mixes divided by their length", after=True, fix="Leave them as long as they are."),
    Mistake("mixes on the sphere (slerp)", curve="sphere", fix="A straight line: w and 1 - w."),
    Mistake("mixes with roots of the weights", curve="root", fix="w and 1 - w themselves."),
    Mistake("the picture with the text added on top", use=(1, 0), fix="The picture's weight is 1 - w."),
    Mistake("the picture alone, faded out", use=(0, 1), fix="Add w * text."),
    Mistake("the nearer of the two, unmixed", chosen),
]

TASKS = [
    Task("mixes", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("text", "picture"),
         like="torch.lerp"),
]


# %% hints
HINTS = [
    ("Where to begin", "weights is (W), the vectors are (E); `weights[:, None]` against (E) gives (W, E)."),
    ("The row runs the wrong way", "Weight 1 is the text alone."),
    ("Nearly right in direction, wrong in length", "Nothing is divided by a length here."),
]
