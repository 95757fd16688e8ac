"""A projection head  (10 minutes, difficulty 2 of 5)

An encoder's features have D numbers, the shared space E. The head: a linear
layer from D to E; what comes out goes through the exact GELU and a second
linear layer from E to E; add the output of the first layer to that of the
second; a LayerNorm over the E numbers (eps 1e-5) with gain and offset. Like
`torch.nn.Linear`, `torch.nn.GELU` and `torch.nn.LayerNorm` in that order.

The dropout of training is left out. Weights are (out, in), as in nn.Linear.
"""

import torch
import torch.nn.functional as F


# %% solution
def projection_head(features, w1, b1, w2, b2, gain, offset):
    """features (B, D), w1 (E, D), w2 (E, E), b1, b2, gain, offset (E,) -> embeddings (B, E)."""
    projected = features @ w1.T + b1
    x = projected + F.gelu(projected) @ w2.T + b2
    return F.layer_norm(x, x.shape[-1:], gain, offset, eps=1e-5)


# %% check: the head against torch's own layers, with gradients
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, width, dim in [(3, 5, 4), (2, 4, 6), (4, 7, 3)]:
        yield {
            "features": random(batch, width) * 2,
            "w1": random(dim, width), "b1": random(dim), "w2": random(dim, dim), "b2": random(dim),
            "gain": random(dim) + 1, "offset": random(dim),
        }  # fmt: skip


def reference(features, w1, b1, w2, b2, gain, offset):
    first, second, norm = (nn.Module.to(m, torch.float64) for m in (nn.Linear(*w1.shape[::-1]), nn.Linear(*w2.shape),
                                                                      nn.LayerNorm(len(gain))))
    projected = torch.func.functional_call(first, {"weight": w1, "bias": b1}, features)
    after = torch.func.functional_call(second, {"weight": w2, "bias": b2}, nn.GELU()(projected))
    return torch.func.functional_call(norm, {"weight": gain, "bias": offset}, projected + after)


def flawed(features, w1, b1, w2, b2, gain, offset, *, shortcut="before", gelu="none", norm="last", eps=1e-5,
           second=lambda w: w.T):
    projected = features @ w1.T + b1
    bent = F.relu(projected) if gelu == "relu" else F.gelu(projected, approximate=gelu)
    x = bent @ second(w2) + b2
    if norm == "first":
        projected = F.layer_norm(projected, gain.shape, gain, offset, eps=eps)
        return projected + F.gelu(projected) @ second(w2) + b2
    x = x + {"before": projected, "behind": bent, "none": torch.zeros_like(x)}[shortcut]
    return x if norm == "none" else F.layer_norm(x, gain.shape, gain, offset, eps=eps)


MISTAKES = [
    Mistake("the head whose shortcut starts behind the GELU", shortcut="behind",
            fix="Add what came out of the first linear layer, before the GELU."),
    Mistake("the head without its shortcut", shortcut="none", fix="Add the output of the first linear layer."),
    Mistake("the head with the tanh GELU", gelu="tanh", fix="F.gelu(x) alone is the exact one."),
    Mistake("the head with ReLU in the place of GELU", gelu="relu"),
    Mistake("the head without the LayerNorm", norm="none"),
    Mistake("the head with the LayerNorm first", norm="first", fix="The norm comes last, behind the sum."),
    Mistake("the head with eps 1e-12, which is DistilBERT's", eps=1e-12, fix="nn.LayerNorm's own is 1e-5."),
    Mistake("the head with the second matrix not transposed", second=lambda w: w,
            fix="Weights are (out, in): x @ w.T."),
]

TASKS = [
    Task("projection_head", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("features", "w1", "w2"), like="torch.nn's layers in this order"),
]


# %% hints
HINTS = [
    ("Where to begin", "Keep the output of the first layer under a name: it is needed twice."),
    ("Nearly right, off in the third digit", "Which GELU, and which eps?"),
    ("The mean of every embedding is not the offset's", "The LayerNorm comes last, and nothing is added behind it."),
]
