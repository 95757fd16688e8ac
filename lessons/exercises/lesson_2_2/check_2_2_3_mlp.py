"""The check of 2.2.3: the MLP against torch.nn.Linear and torch.nn.GELU."""

import torch
import torch.nn.functional as F
from torch import nn

from lessons.checker import Mistake, Task

HINTS = [
    (
        "The product does not fit",
        "Multiply by the transpose, `x @ fc1_weight.T`, or call `F.linear(x, fc1_weight, fc1_bias)`.",
    ),
    ("Only `activated` is wrong", "`F.gelu(hidden)` is exact; `approximate='tanh'` is another function."),
    ("Only `output` is wrong", "After the second layer there is no activation, and its bias counts too."),
]


def mlp(x, fc1_weight, fc1_bias, fc2_weight, fc2_bias):
    hidden = x @ fc1_weight.T + fc1_bias
    activated = F.gelu(hidden)
    return {"hidden": hidden, "activated": activated, "output": activated @ fc2_weight.T + fc2_bias}


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


TASKS = [
    Task(
        "mlp",
        cases,
        reference=reference,
        like="Linear, GELU, Linear",
        gradients=("x", "fc1_weight", "fc2_weight"),
        mistakes=[
            Mistake("the MLP with the tanh GELU", flawed, activation=lambda x: F.gelu(x, approximate="tanh")),
            Mistake("the MLP with ReLU instead of GELU", flawed, activation=F.relu),
            Mistake(
                "the MLP with QuickGELU instead of GELU", flawed, activation=lambda x: x * torch.sigmoid(1.702 * x)
            ),
            Mistake(
                "the MLP without an activation: two linear layers in a row are one", flawed, activation=lambda x: x
            ),
            Mistake("the MLP with a second activation behind fc2", flawed, again=True, fix="fc2 is the last step."),
            Mistake("the MLP without the bias of fc1", flawed, biases=(0, 1)),
            Mistake("the MLP without the bias of fc2", flawed, biases=(1, 0)),
            Mistake("the MLP plus its input: the residual belongs to the block", flawed, residual=True),
        ],
    )
]
