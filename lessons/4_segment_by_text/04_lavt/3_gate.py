"""The language gate  (10 minutes, difficulty 2 of 5)

How much of the words goes on with the picture? From F, the map in which
words and picture are mixed, two linear layers without bias, a ReLU between
them, a tanh at the end, make a number between -1 and 1 for each position
and channel. F is multiplied by it and added to V, the map without words:
E = V + gate * F. Weights are stored as in torch.nn.Linear, (out, in).
"""

import torch
import torch.nn.functional as F


# %% solution
def language_gate(visual, fused, weight1, weight2):
    """visual V and fused F (B, N, C), weights (C, C) -> {"gate": (B, N, C), "out": E (B, N, C)}."""
    gate = F.linear(F.linear(fused, weight1).relu(), weight2).tanh()
    return {"gate": gate, "out": visual + gate * fused}


# %% check: the gate against torch.nn.Sequential
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, channels in [(2, 4, 3), (3, 3, 5)]:
        yield {
            "visual": random(batch, n, channels), "fused": random(batch, n, channels),
            "weight1": random(channels, channels), "weight2": random(channels, channels),
        }


def reference(visual, fused, weight1, weight2):
    layers = [nn.Linear(*weight.T.shape, bias=False).double() for weight in (weight1, weight2)]
    gates = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.Tanh())
    gate = torch.func.functional_call(gates, {"0.weight": weight1, "2.weight": weight2}, (fused,))
    return {"gate": gate, "out": torch.addcmul(visual, gate, fused)}


BENDS = {"relu": torch.relu, "gelu": F.gelu, "none": lambda x: x}
ENDS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": lambda x: x}


def flawed(v, f, w1, w2, bend="relu", end="tanh", source="f", out="right", swap=False, turn=False):
    w1, w2 = (w2, w1) if swap else (w1, w2)
    w1, w2 = (w1.T, w2.T) if turn else (w1, w2)
    start = {"f": f, "v": v, "sum": v + f}[source]
    gate = ENDS[end](F.linear(BENDS[bend](F.linear(start, w1)), w2))
    outs = {"right": v + gate * f, "alone": gate * f, "picture": gate * v + f, "plain": v + f}
    return {"gate": gate, "out": outs[out]}


MISTAKES = [
    Mistake("a gate that ends in a sigmoid", end="sigmoid", fix="tanh: the words may also be subtracted."),
    Mistake("a gate without its tanh", end="none", fix="Keep it between -1 and 1."),
    Mistake("a gate without the ReLU between its layers", bend="none"),
    Mistake("a gate with a GELU between its layers", bend="gelu", fix="ReLU here; GELU is in PWAM."),
    Mistake("the words alone: V is not added", out="alone",
            fix="The picture itself goes on whole: visual + gate * fused."),
    Mistake("V + F: the gate is computed, and not used", out="plain", fix="Multiply F by the gate first."),
    Mistake("the gate on the picture, gate * V + F", out="picture", fix="It is F that is turned."),
    Mistake("a gate computed from V", source="v", fix="From F, where the words are."),
    Mistake("a gate computed from V + F", source="sum", fix="From F alone."),
    Mistake("a gate with its two layers swapped", swap=True),
    Mistake("a gate with transposed weights", turn=True, fix="Weights are (out, in): x @ weight.T, or F.linear."),
]

TASKS = [
    Task("language_gate", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("visual", "fused"),
         like="Linear, ReLU, Linear, Tanh"),
]


# %% hints
HINTS = [
    ("Where to begin", "`F.linear(fused, weight1)` is (B, N, C): fused @ weight1.T, without a bias."),
    ("`gate` is wrong", "Linear, ReLU, linear, tanh, in this order, and all of it from F; V has no say in it."),
    ("`gate` is right, `out` is not", "The gate turns F, not V; and V is added whole: visual + gate * fused."),
]
