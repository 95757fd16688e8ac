"""A picture is the mean of its patches  (5 minutes, difficulty 1 of 5)

The end of CLIPS' image tower. Token 0 is the class token: it took part in
the blocks and is left out now. The other tokens are averaged; then comes a
LayerNorm with an eps of 1e-6, on the mean and not on the tokens; then a
projection without bias, stored as in OpenAI's files: (D, E), applied as
pooled @ projection. The embedding is not normalised here.
"""

import torch
import torch.nn.functional as F


# %% solution
def pool_patches(tokens, norm_weight, norm_bias, projection):
    """tokens (B, 1 + N, D), norm_weight (D), norm_bias (D), projection (D, E) -> (B, E)."""
    pooled = tokens[:, 1:].mean(dim=1)
    return F.layer_norm(pooled, norm_weight.shape, norm_weight, norm_bias, 1e-6) @ projection


# %% check: embeddings against torch.nn.AdaptiveAvgPool1d, LayerNorm and Linear
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim, embed_dim in [(2, 5, 4, 3), (3, 2, 6, 6), (2, 10, 3, 8)]:
        yield {
            "tokens": random(batch, n, dim) * 0.05,
            "norm_weight": random(dim),
            "norm_bias": random(dim),
            "projection": random(dim, embed_dim),
        }


def reference(tokens, norm_weight, norm_bias, projection):
    dim, embed_dim = projection.shape
    layers = nn.Sequential(nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, embed_dim, bias=False)).double()
    named = {"0.weight": norm_weight, "0.bias": norm_bias, "1.weight": projection.T}
    patches = tokens.narrow(1, 1, tokens.shape[1] - 1).mT  # (B, D, N)
    return torch.func.functional_call(layers, named, (nn.AdaptiveAvgPool1d(1)(patches)[..., 0],))


def flawed(tokens, weight, bias, projection, pool=lambda x: x[:, 1:].mean(dim=1), eps=1e-6, norm="after", unit=False):
    def layer_norm(x):
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    if norm == "tokens":
        x = pool(layer_norm(tokens))
    else:
        x = layer_norm(pool(tokens)) if norm == "after" else pool(tokens)
    x = x @ projection
    return F.normalize(x, dim=-1) if unit else x


MISTAKES = [
    Mistake("the embedding of the class token, as in CLIP", pool=lambda x: x[:, 0], fix="The mean of tokens[:, 1:]."),
    Mistake("the embedding of the mean of all tokens, the class token too", pool=lambda x: x.mean(dim=1),
            fix="Leave token 0 out: tokens[:, 1:]."),
    Mistake("the embedding of the sum of the patches, not normalised", pool=lambda x: x[:, 1:].sum(dim=1),
            norm="never", fix="A mean, and a LayerNorm on it."),
    Mistake("the embedding of the largest value among the patches", pool=lambda x: x[:, 1:].amax(dim=1)),
    Mistake("the mean of patches that were normalised each for itself", norm="tokens",
            fix="First the mean, then the LayerNorm."),
    Mistake("the embedding with an eps of 1e-5, CLIP's", eps=1e-5, fix="CLIPS' norms have 1e-6."),
    Mistake("the embedding without its LayerNorm", norm="never"),
    Mistake("the embedding divided by its length", unit=True, fix="Normalising comes with the cosine, later."),
    Mistake("the embedding of the mean without the last patch", pool=lambda x: x[:, :-1].mean(dim=1),
            fix="The class token is the first one: tokens[:, 1:]."),
]

TASKS = [
    Task("pool_patches", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("tokens", "projection"), like="a mean over the patches, LayerNorm and Linear"),
]


# %% hints
HINTS = [
    ("The mean is a little off", "Is the class token in it? `tokens[:, 1:]` leaves it out."),
    ("A tiny difference", "`F.layer_norm`'s eps is 1e-5 by default."),
    ("Right only where all patches are alike", "The norm comes after the mean, not before."),
]
