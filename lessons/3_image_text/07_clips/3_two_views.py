"""A loss over two texts  (15 minutes, difficulty 3 of 5)

Each picture has two texts, the caption of the web and a piece of a long
synthetic one. CLIP's loss is taken with each, and the mean of both is the
loss of CLIPS. CLIP's loss over logits (B, B), pictures in rows, is the mean
of two cross entropies: each picture chooses among the texts, each text among
the pictures. Logits are exp(logit_scale) times the cosine; the pictures'
vectors and the texts' come as the towers give them, not normalised.

The pictures are encoded once, and so is each text: a text of one view is
never compared with a text of the other, nor do the two views stand in one
matrix.
"""

import torch
import torch.nn.functional as F


# %% solution
def two_view_loss(image, web, piece, logit_scale):
    """image, web, piece (B, E), logit_scale () -> the loss, ()."""
    answers = torch.arange(len(image))
    losses = []
    for text in (web, piece):
        logits = logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        losses.append((F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)) / 2)
    return (losses[0] + losses[1]) / 2


# %% check: the loss against single logarithms, picture by picture
from lessons.checker import Mistake, Task


def cases(random):
    for batch, dim, scale in [(3, 4, 1.5), (5, 3, 0.3), (2, 6, 2.0)]:
        scale = torch.tensor(scale, dtype=torch.float64)
        named = {name: random(batch, dim) * 3 for name in ("image", "web", "piece")}
        yield {**named, "logit_scale": scale}


def reference(image, web, piece, logit_scale):
    total = 0.0
    for text in (web, piece):
        for i in range(len(image)):
            row = torch.stack([F.cosine_similarity(image[i], other, dim=0) for other in text]) * logit_scale.exp()
            column = torch.stack([F.cosine_similarity(other, text[i], dim=0) for other in image]) * logit_scale.exp()
            total = total + torch.logsumexp(row, 0) - row[i] + torch.logsumexp(column, 0) - column[i]
    return total / (4 * len(image))


def flawed(image, web, piece, logit_scale, views="both", unit=True, sides="both", factor=torch.exp):
    def unify(x):
        return F.normalize(x, dim=-1) if unit else x

    def clip_loss(text):
        logits = factor(logit_scale) * unify(image) @ unify(text).T
        answers = torch.arange(len(logits))
        rows, columns = F.cross_entropy(logits, answers), F.cross_entropy(logits.T, answers)
        return {"both": (rows + columns) / 2, "rows": rows, "columns": columns, "sum": rows + columns}[sides]

    if views == "averaged":
        return clip_loss((unify(web) + unify(piece)) / 2)
    if views == "one matrix":
        logits = factor(logit_scale) * unify(image) @ torch.cat([unify(web), unify(piece)]).T
        answers = torch.arange(len(image))
        return (F.cross_entropy(logits, answers) + F.cross_entropy(logits, answers + len(image))) / 2
    losses = {"web": clip_loss(web), "piece": clip_loss(piece)}
    if views != "both":
        return losses[views]
    return (losses["web"] + losses["piece"]) / 2


MISTAKES = [
    Mistake("the loss of the web captions alone, CLIP's", views="web", fix="Add that of the pieces, and halve."),
    Mistake("the loss of the pieces alone", views="piece", fix="Both views count the same."),
    Mistake("the loss of the mean of both texts' vectors", views="averaged",
            fix="Average the losses, not the vectors."),
    Mistake("the loss over one matrix with the texts of both views", views="one matrix",
            fix="Two matrices (B, B): a text of one view is no wrong answer for the other."),
    Mistake("the loss in which only pictures choose", sides="rows", fix="Cross entropy of logits.T as well."),
    Mistake("the loss in which only texts choose", sides="columns", fix="Cross entropy of logits as well."),
    Mistake("the sum of both directions", sides="sum", fix="CLIP's loss is their mean."),
    Mistake("the loss of vectors that were not normalised", unit=False, fix="F.normalize(x, dim=-1)."),
    Mistake("the loss with logit_scale itself as factor", factor=lambda s: s, fix="logit_scale.exp()."),
]

TASKS = [
    Task("two_view_loss", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("image", "web", "piece", "logit_scale"), like="single logarithms, picture by picture"),
]


# %% hints
HINTS = [
    ("Twice as large", "Mean over the two directions, and mean over the two views."),
    ("Where is the diagonal?", "The right answer of row i is i: `torch.arange(B)`."),
    ("Nearly right, but the gradients differ", "Are the texts normalised one by one, before any mean?"),
]
