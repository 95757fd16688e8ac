"""Find the bug: a block that trains badly  (10 minutes, difficulty 3 of 5)

Somebody's block. It runs, its shapes are right, deep stacks of it train
poorly, and official weights give nonsense in it. It should be the pre-norm
block with LayerNorm's eps of 1e-6 and the exact GELU, like timm's. One line
is wrong. Find it and repair it.
"""

import torch
import torch.nn.functional as F


# %% given: with its bug
def transformer_block(x, weights, attention):
    """x (B, N, D), a dict of weights by timm's names, attention a function of normalised tokens -> (B, N, D)."""

    def norm(tokens, name):
        return F.layer_norm(tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def linear(tokens, name):
        return F.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    normed = norm(x, "norm1")
    x = normed + attention(normed)
    normed = norm(x, "norm2")
    hidden = F.gelu(linear(normed, "mlp.fc1"))
    x = x + linear(hidden, "mlp.fc2")
    return x


# %% solution
def transformer_block(x, weights, attention):
    def norm(tokens, name):
        return F.layer_norm(tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def linear(tokens, name):
        return F.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    normed = norm(x, "norm1")
    x = x + attention(normed)
    normed = norm(x, "norm2")
    hidden = F.gelu(linear(normed, "mlp.fc1"))
    x = x + linear(hidden, "mlp.fc2")
    return x


# %% check: a block against torch's modules put together
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim, wide in [(2, 3, 4, 16), (3, 5, 6, 12)]:
        weights = {f"{norm}.{part}": random(dim) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
        weights |= {"mlp.fc1.weight": random(wide, dim), "mlp.fc1.bias": random(wide)}
        weights |= {"mlp.fc2.weight": random(dim, wide), "mlp.fc2.bias": random(dim)}
        mixing = random(n, n).softmax(dim=-1)

        def attention(tokens, mixing=mixing):
            return mixing @ tokens

        yield {"x": random(batch, n, dim) * 2, "weights": weights, "attention": attention}


def reference(x, weights, attention):
    dim, wide = x.shape[-1], len(weights["mlp.fc1.bias"])
    parts = {"norm1": nn.LayerNorm(dim, eps=1e-6), "norm2": nn.LayerNorm(dim, eps=1e-6)}
    parts |= {"mlp.fc1": nn.Linear(dim, wide), "mlp.fc2": nn.Linear(wide, dim)}

    def run(name, tokens):
        named = {part: weights[f"{name}.{part}"] for part in ("weight", "bias")}
        return torch.func.functional_call(parts[name].double(), named, (tokens,))

    middle = x + attention(run("norm1", x))
    return middle + run("mlp.fc2", nn.GELU()(run("mlp.fc1", run("norm2", middle))))


def flawed(x, weights, attention, first="x", second="x", approximate="none", eps=1e-6, reads="middle"):
    def norm(tokens, name):
        return F.layer_norm(tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def linear(tokens, name):
        return F.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    normed = norm(x, "norm1")
    middle = {"x": x, "normed": normed, "none": 0}[first] + attention(normed)
    normed = norm(middle, "norm2") if reads == "middle" else norm(x, "norm2")
    hidden = F.gelu(linear(normed, "mlp.fc1"), approximate=approximate)
    return {"x": middle, "normed": normed}[second] + linear(hidden, "mlp.fc2")


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", first="normed"),
    Mistake("the file with the second residual bent to match the first: both now add normalised tokens",
            first="normed", second="normed", fix="The second sum was right."),
    Mistake("the block without its first residual", first="none",
            fix="Something has to be added to attention's answer."),
    Mistake("the block whose second residual adds normalised tokens: that line was right", second="normed"),
    Mistake("the block with the tanh GELU: that line was right", approximate="tanh"),
    Mistake("the block with an eps of 1e-5: that line was right", eps=1e-5),
    Mistake("the block whose MLP reads norm2 of the old x: that line was right", reads="x"),
]

TASKS = [
    Task("transformer_block", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("x", "weights"),
         like="the pre-norm block"),
]


# %% hints
HINTS = [
    ("Where to look", "Follow the residual stream: between input and output, x should only ever be added to."),
    ("Try it small", "Give it an attention that returns zeros. What should x be after the first sum, and what is it?"),
    ("The line", "In the second half the sum starts with x, in the first half with something else."),
]
