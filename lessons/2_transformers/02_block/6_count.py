"""Count the parameters  (5 minutes, difficulty 1 of 5)

How many learned numbers has one block? Two norms (gain and bias each), the
joint projection of q, k and v, the output projection, and two linear layers
of width D -> M -> D; all of them with biases. The number of heads does not
matter. Counted like `sum(p.numel() for p in layer.parameters())` of
`torch.nn.TransformerEncoderLayer(D, heads, M)`.
"""


# %% solution
def count_parameters(embed_dim, mlp_dim):
    """D and M, two whole numbers -> a whole number."""
    norms = 2 * 2 * embed_dim
    attention = 4 * (embed_dim * embed_dim + embed_dim)
    mlp = embed_dim * mlp_dim + mlp_dim + mlp_dim * embed_dim + embed_dim
    return norms + attention + mlp


# %% check: a formula against the parameters of torch.nn.TransformerEncoderLayer
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for embed_dim, mlp_dim in [(4, 16), (6, 10), (32, 128), (768, 3072)]:
        yield {"embed_dim": embed_dim, "mlp_dim": mlp_dim}


def reference(embed_dim, mlp_dim):
    layer = nn.TransformerEncoderLayer(embed_dim, 2, mlp_dim, device="meta")
    return sum(parameter.numel() for parameter in layer.parameters())


def flawed(embed_dim, mlp_dim, norms=2, projections=4, bias=True, mlp_bias=True, last=True):
    total = norms * 2 * embed_dim + projections * (embed_dim**2 + bias * embed_dim)
    return total + (2 if last else 1) * embed_dim * mlp_dim + mlp_bias * (mlp_dim + (embed_dim if last else 0))


MISTAKES = [
    Mistake("the count without the output projection", projections=3, fix="Behind the heads stands a D x D layer."),
    Mistake("the count with one projection for q, k and v instead of three", projections=2),
    Mistake("the count without the norms, or without attention's biases: both are 4 D numbers", norms=0),
    Mistake("the count with half of the norms: one norm, or gains without biases", norms=1),
    Mistake("the count without any bias in attention and MLP", bias=False, mlp_bias=False),
    Mistake("the count without the MLP's biases", mlp_bias=False),
    Mistake("the count without the second layer of the MLP", last=False),
]

TASKS = [
    Task("count_parameters", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="the parameters of torch.nn.TransformerEncoderLayer"),
]


# %% hints
HINTS = [
    ("Where to begin", "A linear layer from a to b has a * b weights and b biases; a norm has 2 * D numbers."),
    ("Too few",
     "q, k and v are three projections of D x D, and attention has a fourth one behind it. Is every bias in?"),
    ("Check by hand", "A ViT-B block has D = 768 and M = 3072: 7,087,872 numbers."),
]
