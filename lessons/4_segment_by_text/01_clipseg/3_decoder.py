"""The decoder's walk  (20 minutes, difficulty 3 of 5)

CLIPSeg's decoder walks from the deepest activation to the shallowest. At
each step it reduces the activation to its own width, adds what it has so
far, and passes the sum through a block. The prompt enters once, at the
first step: FiLM after the reduction, before the block. `parts` is a dict:

    "reduces"   a list of functions (B, N, width) -> (B, N, D); the first one
                belongs to the deepest activation
    "blocks"    a list of functions (B, N, D) -> (B, N, D), in the same order
    "mul"       a function (B, E) -> (B, D), FiLM's factors
    "add"       a function (B, E) -> (B, D), FiLM's offsets

Hand in {"film": what enters the first block, "first": what comes out of it,
"tokens": what comes out of the last block}, each (B, N, D).
"""

import torch


# %% solution
def decoder_tokens(activations, prompt, parts):
    """activations a list of (B, N, width), shallow to deep, prompt (B, E) -> dict with film, first, tokens."""
    steps = {}
    x = None
    for activation, reduce, block in zip(reversed(activations), parts["reduces"], parts["blocks"]):
        if x is None:
            x = parts["mul"](prompt)[:, None] * reduce(activation) + parts["add"](prompt)[:, None]
            steps["film"] = x
            steps["first"] = x = block(x)
        else:
            x = block(x + reduce(activation))
    steps["tokens"] = x
    return steps


# %% check: the walk against torch.nn.TransformerEncoderLayer (post-norm) and torch.nn.Linear
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, width, dim, heads, embed_dim, depth in [(2, 5, 6, 4, 2, 3, 3), (3, 4, 4, 6, 3, 5, 2)]:
        settings = {"dropout": 0.0, "activation": "relu", "batch_first": True, "dtype": torch.float64}
        parts = {
            "reduces": [nn.Linear(width, dim).double() for _ in range(depth)],
            "blocks": [nn.TransformerEncoderLayer(dim, heads, 2 * dim, **settings) for _ in range(depth)],
            "mul": nn.Linear(embed_dim, dim).double(),
            "add": nn.Linear(embed_dim, dim).double(),
        }
        modules = nn.ModuleList([*parts["reduces"], *parts["blocks"], parts["mul"], parts["add"]])
        for parameter in modules.parameters():
            parameter.data = random(*parameter.shape) * 0.5
            parameter.requires_grad_(False)
        activations = [random(batch, n, width) for _ in range(depth)]
        yield {"activations": activations, "prompt": random(batch, embed_dim), "parts": parts}


def reference(activations, prompt, parts):
    mul, add = parts["mul"](prompt).unsqueeze(1), parts["add"](prompt).unsqueeze(1)
    deepest = len(activations) - 1
    film = torch.addcmul(add.expand(-1, activations[0].shape[1], -1), mul, parts["reduces"][0](activations[deepest]))
    first = x = parts["blocks"][0](film)
    for step in range(1, len(activations)):
        x = parts["blocks"][step](torch.add(x, parts["reduces"][step](activations[deepest - step])))
    return {"film": film, "first": first, "tokens": x}


def flawed(
    activations, prompt, parts, walk="deep", turn=1, skip=1.0, film="before", every=False, add_first=False, residual=0
):
    mul, add = parts["mul"](prompt)[:, None], parts["add"](prompt)[:, None]
    modulate = (lambda x: mul * (x + add)) if add_first else (lambda x: mul * x + add)
    order = list(reversed(activations)) if walk == "deep" else list(activations)
    steps, x = {}, 0
    for number, activation in enumerate(order):
        block, reduce = parts["blocks"][number], parts["reduces"][::turn][number]
        before = reduce(activation) + skip * x
        here = film != "never" and (number == 0 or every)
        x = modulate(before) if here and film == "before" else before
        if number == 0:
            steps["film"] = x
        x = block(x) + residual * x
        x = modulate(x) if here and film == "after" else x
        if number == 0:
            steps["first"] = x
    return {**steps, "tokens": x}


MISTAKES = [
    Mistake("a decoder that walks from the shallowest activation to the deepest", walk="shallow",
            fix="`reversed(activations)`."),
    Mistake("a decoder with its reductions in the wrong order", turn=-1,
            fix="The first reduction belongs to the deepest activation."),
    Mistake("a decoder that forgets at each step what it had: no skip connection", skip=0.0,
            fix="block(x + reduce(activation))."),
    Mistake("a decoder with FiLM after the first block", film="after", fix="FiLM comes before it."),
    Mistake("a decoder without FiLM: the prompt is never asked", film="never"),
    Mistake("a decoder with FiLM at every step", every=True, fix="The prompt enters once, at the deepest activation."),
    Mistake("a decoder whose FiLM adds before it multiplies", add_first=True, fix="mul * x + add."),
    Mistake("a decoder with a residual around each block", residual=1,
            fix="The blocks have their own residual connections inside."),
]

TASKS = [
    Task("decoder_tokens", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="the walk with torch.nn.TransformerEncoderLayer"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "The activations come shallow to deep, so the walk is over `reversed(activations)`, hand in hand with "
     "`parts['reduces']` and `parts['blocks']`."),
    ("`film` is wrong", "mul(prompt) is (B, D); with `[:, None]` it meets every token. Factor first, then offset."),
    ("`first` is right, `tokens` is not", "Each next step is block(x + reduce(activation)): what it has so far stays."),
]
