"""The MLP  (5 minutes, difficulty 1 of 5)

Two linear layers with the exact GELU between them, each token alone. Hand
in the steps by name, like the modules of a ViT do it in timm:

    "hidden"       (B, N, M)    after fc1
    "activated"    (B, N, M)    after GELU
    "output"       (B, N, D)    after fc2

`torch.nn.functional.gelu` is allowed here. A linear layer keeps its weight
as (outputs, inputs): y = x W^T + b.
"""

import torch
import torch.nn.functional as F


# %% solution
def mlp(x, fc1_weight, fc1_bias, fc2_weight, fc2_bias):
    """x (B, N, D), fc1_weight (M, D), fc1_bias (M), fc2_weight (D, M), fc2_bias (D) -> dict of three tensors."""
    hidden = x @ fc1_weight.T + fc1_bias
    activated = F.gelu(hidden)
    return {"hidden": hidden, "activated": activated, "output": activated @ fc2_weight.T + fc2_bias}


# %% check: the MLP against torch.nn.Linear and torch.nn.GELU
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim, wide in [(2, 3, 4, 16), (3, 5, 6, 6), (2, 2, 8, 12)]:
        weights = {"fc1_weight": random(wide, dim), "fc1_bias": random(wide), "fc2_weight": random(dim, wide)}
        yield {"x": random(batch, n, dim), **weights, "fc2_bias": random(dim)}


def reference(x, fc1_weight, fc1_bias, fc2_weight, fc2_bias):
    dim, wide = x.shape[-1], len(fc1_bias)
    layers = nn.Sequential(nn.Linear(dim, wide), nn.GELU(), nn.Linear(wide, dim)).double()
    named = {"0.weight": fc1_weight, "0.bias": fc1_bias, "2.weight": fc2_weight, "2.bias": fc2_bias}
    output = torch.func.functional_call(layers, named, (x,))
    first = torch.func.functional_call(layers[0], {"weight": fc1_weight, "bias": fc1_bias}, (x,))
    return {"hidden": first, "activated": layers[1](first), "output": output}


def flawed(
    x, fc1_weight, fc1_bias, fc2_weight, fc2_bias, activation=F.gelu, biases=(1, 1), again=False, residual=False
):
    hidden = F.linear(x, fc1_weight, fc1_bias * biases[0])
    activated = activation(hidden)
    output = F.linear(activated, fc2_weight, fc2_bias * biases[1])
    output = activation(output) if again else output
    return {"hidden": hidden, "activated": activated, "output": output + x if residual else output}


MISTAKES = [
    Mistake("the MLP with the tanh GELU", activation=lambda x: F.gelu(x, approximate="tanh")),
    Mistake("the MLP with ReLU instead of GELU", activation=F.relu),
    Mistake("the MLP with QuickGELU instead of GELU", activation=lambda x: x * torch.sigmoid(1.702 * x)),
    Mistake("the MLP without an activation: two linear layers in a row are one", activation=lambda x: x),
    Mistake("the MLP with a second activation behind fc2", again=True, fix="fc2 is the last step."),
    Mistake("the MLP without the bias of fc1", biases=(0, 1)),
    Mistake("the MLP without the bias of fc2", biases=(1, 0)),
    Mistake("the MLP plus its input: the residual belongs to the block", residual=True),
]

TASKS = [
    Task("mlp", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("x", "fc1_weight", "fc2_weight"), like="Linear, GELU, Linear"),
]


# %% hints
HINTS = [
    ("The product does not fit",
     "Multiply by the transpose, `x @ fc1_weight.T`, or call `F.linear(x, fc1_weight, fc1_bias)`."),
    ("Only `activated` is wrong", "`F.gelu(hidden)` is exact; `approximate='tanh'` is another function."),
    ("Only `output` is wrong", "After the second layer there is no activation, and its bias counts too."),
]
