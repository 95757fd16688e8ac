"""FiLM: a prompt turns the channels  (10 minutes, difficulty 2 of 5)

Feature-wise linear modulation: from the prompt, one linear layer makes a
factor for each channel, another one makes an offset for each channel. Every
token of a picture is multiplied by its picture's factors, then its offsets
are added (Dumoulin et al. 2018; CLIPSeg's `film_mul` and `film_add`). The
prompt is used as it comes, not normalised. Weights are stored as in
torch.nn.Linear: (D, E).
"""

import torch
import torch.nn.functional as F


# %% solution
def film(x, prompt, mul_weight, mul_bias, add_weight, add_bias):
    """x (B, N, D), prompt (B, E), weights (D, E), biases (D) -> (B, N, D)."""
    mul = F.linear(prompt, mul_weight, mul_bias)  # (B, D)
    add = F.linear(prompt, add_weight, add_bias)  # (B, D)
    return x * mul[:, None] + add[:, None]


# %% check: FiLM against torch.nn.Linear, picture by picture and token by token
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim, embed_dim in [(2, 5, 3, 4), (4, 4, 4, 4), (3, 3, 6, 2)]:
        yield {
            "x": random(batch, n, dim),
            "prompt": random(batch, embed_dim) * 2,
            "mul_weight": random(dim, embed_dim),
            "mul_bias": random(dim),
            "add_weight": random(dim, embed_dim),
            "add_bias": random(dim),
        }


def reference(x, prompt, mul_weight, mul_bias, add_weight, add_bias):
    def layer(weight, bias):
        linear = nn.Linear(*weight.T.shape).double()
        return lambda c: torch.func.functional_call(linear, {"weight": weight, "bias": bias}, (c,))

    mul, add = layer(mul_weight, mul_bias), layer(add_weight, add_bias)
    rows = [[mul(c) * token + add(c) for token in tokens] for tokens, c in zip(x, prompt)]
    return torch.stack([torch.stack(row) for row in rows])


def flawed(
    x, prompt, mul_w, mul_b, add_w, add_b, order="mul", one=0, unit=False, use=(1, 1), bias=1, axis=1, who="own"
):
    prompt = F.normalize(prompt, dim=-1) if unit else prompt
    prompt = prompt[:1].expand_as(prompt) if who == "first" else prompt
    prompt = prompt.mean(dim=0, keepdim=True).expand_as(prompt) if who == "mean" else prompt
    mul, add = F.linear(prompt, mul_w, bias * mul_b), F.linear(prompt, add_w, bias * add_b)
    mul = (mul + one if use[0] else torch.ones_like(mul)).unsqueeze(axis)
    add = (use[1] * add).unsqueeze(axis)
    if order == "swapped":
        mul, add = add, mul
    return (x + add) * mul if order == "add" else x * mul + add


def class_token_only(x, prompt, *layers):
    return torch.cat([flawed(x[:, :1], prompt, *layers), x[:, 1:]], dim=1)


MISTAKES = [
    Mistake("FiLM that adds first and multiplies then", order="add", fix="x * mul + add."),
    Mistake("FiLM with the two layers swapped", order="swapped"),
    Mistake("FiLM with one added to the factor", one=1,
            fix="Some papers write 1 + gamma; CLIPSeg multiplies by the layer's answer itself."),
    Mistake("FiLM of a prompt divided by its length", unit=True,
            fix="CLIPSeg's prompt is CLIP's embedding as it comes, not normalised."),
    Mistake("FiLM without its offset", use=(1, 0), fix="Add the second layer's answer."),
    Mistake("FiLM without its factor", use=(0, 1), fix="Multiply by the first layer's answer."),
    Mistake("FiLM without the biases of its layers", bias=0),
    Mistake("FiLM in which every picture gets the first picture's prompt", who="first",
            fix="Picture b belongs to prompt b."),
    Mistake("FiLM with the mean prompt of the batch", who="mean", fix="Picture b belongs to prompt b."),
    Mistake("FiLM of the class token alone", class_token_only, fix="All tokens of a picture are modulated alike."),
]

TASKS = [
    Task("film", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("x", "prompt"),
         like="FiLM with two torch.nn.Linear"),
]


# %% hints
HINTS = [
    ("Where to begin", "`mul = F.linear(prompt, mul_weight, mul_bias)` has the shape (B, D)."),
    ("The shapes do not fit, or fit by accident",
     "(B, D) against (B, N, D): give the factors an axis for the tokens, `mul[:, None]`."),
    ("Close, but not equal", "First the factor, then the offset: x * mul + add. Nothing is added to the factor."),
]
