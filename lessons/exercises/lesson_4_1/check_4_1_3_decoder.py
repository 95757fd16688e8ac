"""The check of 4.1.3: the walk against torch.nn.TransformerEncoderLayer (post-norm) and torch.nn.Linear."""

import torch
from torch import nn

from lessons.checker import Mistake, Task

HINTS = [
    (
        "Where to begin",
        "The activations come shallow to deep, so the walk is over `reversed(activations)`, hand in hand with "
        "`parts['reduces']` and `parts['blocks']`.",
    ),
    ("`film` is wrong", "mul(prompt) is (B, D); with `[:, None]` it meets every token. Factor first, then offset."),
    ("`first` is right, `tokens` is not", "Each next step is block(x + reduce(activation)): what it has so far stays."),
]


def decoder_tokens(activations, prompt, parts):
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


TASKS = [
    Task(
        "decoder_tokens",
        cases,
        reference=reference,
        like="the walk with torch.nn.TransformerEncoderLayer",
        mistakes=[
            Mistake(
                "a decoder that walks from the shallowest activation to the deepest",
                flawed,
                walk="shallow",
                fix="`reversed(activations)`.",
            ),
            Mistake(
                "a decoder with its reductions in the wrong order",
                flawed,
                turn=-1,
                fix="The first reduction belongs to the deepest activation.",
            ),
            Mistake(
                "a decoder that forgets at each step what it had: no skip connection",
                flawed,
                skip=0.0,
                fix="block(x + reduce(activation)).",
            ),
            Mistake("a decoder with FiLM after the first block", flawed, film="after", fix="FiLM comes before it."),
            Mistake("a decoder without FiLM: the prompt is never asked", flawed, film="never"),
            Mistake(
                "a decoder with FiLM at every step",
                flawed,
                every=True,
                fix="The prompt enters once, at the deepest activation.",
            ),
            Mistake("a decoder whose FiLM adds before it multiplies", flawed, add_first=True, fix="mul * x + add."),
            Mistake(
                "a decoder with a residual around each block",
                flawed,
                residual=1,
                fix="The blocks have their own residual connections inside.",
            ),
        ],
    )
]
