"""From class token to embedding  (5 minutes, difficulty 1 of 5)

The end of CLIP's image tower: the class token (token 0) alone passes a
LayerNorm with an eps of 1e-5 and a projection without bias into the shared
space. The projection is stored as in OpenAI's files: (D, E), applied as
token @ projection. The embedding is not normalised here.
"""

import torch
import torch.nn.functional as F


# %% solution
def image_embedding(tokens, norm_weight, norm_bias, projection):
    """tokens (B, 1 + N, D), norm_weight (D), norm_bias (D), projection (D, E) -> (B, E)."""
    return F.layer_norm(tokens[:, 0], norm_weight.shape, norm_weight, norm_bias, 1e-5) @ projection


# %% check: embeddings against torch.nn.LayerNorm and torch.nn.Linear
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim, embed_dim in [(2, 5, 4, 3), (3, 2, 6, 6), (2, 10, 3, 8)]:
        yield {
            "tokens": random(batch, n, dim),
            "norm_weight": random(dim),
            "norm_bias": random(dim),
            "projection": random(dim, embed_dim),
        }


def reference(tokens, norm_weight, norm_bias, projection):
    dim, embed_dim = projection.shape
    layers = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, embed_dim, bias=False)).double()
    named = {"0.weight": norm_weight, "0.bias": norm_bias, "1.weight": projection.T}
    return torch.func.functional_call(layers, named, (tokens.select(1, 0),))


def flawed(tokens, weight, bias, projection, pool=lambda x: x[:, 0], eps=1e-5, norm="before", unit=False):
    def layer_norm(x):
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    if norm == "all":
        x = pool(layer_norm(tokens))
    else:
        x = layer_norm(pool(tokens)) if norm == "before" else pool(tokens)
    x = x @ projection
    return F.normalize(x, dim=-1) if unit else x


MISTAKES = [
    Mistake("the embedding with an eps of 1e-6, timm's", eps=1e-6, fix="CLIP's LayerNorm has 1e-5."),
    Mistake("the embedding with an eps of 1e-12, that of transformers' ViT", eps=1e-12, fix="CLIP's has 1e-5."),
    Mistake("the embedding without its LayerNorm", norm="never"),
    Mistake("the embedding of the mean of all tokens", pool=lambda x: x.mean(dim=1), fix="Take the class token."),
    Mistake("the embedding of the mean of the patches", pool=lambda x: x[:, 1:].mean(dim=1)),
    Mistake("the embedding of the last token", pool=lambda x: x[:, -1], fix="The class token comes first."),
    Mistake("the mean of all tokens after the LayerNorm", pool=lambda x: x.mean(dim=1), norm="all",
            fix="Take the class token."),
    Mistake("the embedding divided by its length", unit=True, fix="Normalising comes with the cosine, later."),
]

TASKS = [
    Task("image_embedding", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("tokens", "projection"), like="LayerNorm and Linear on the class token"),
]


# %% hints
HINTS = [
    ("Which token?", "`tokens[:, 0]` has the shape (B, D)."),
    ("A tiny difference", "`F.layer_norm`'s eps is 1e-5 by default; timm's ViTs use 1e-6, CLIP does not."),
    ("The projection does not fit", "(B, D) @ (D, E): no transpose here."),
]
