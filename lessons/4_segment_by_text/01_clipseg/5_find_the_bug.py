"""Find the bug: one block off  (10 minutes, difficulty 3 of 5)

Somebody's port of CLIPSeg on top of a library that returns all hidden
states of its tower: a list that begins with the tokens BEFORE the first
block. Official weights load, the masks look reasonable, the numbers are a
little worse than in the paper. `layers` counts blocks from 0 and means
their outputs. One line is wrong; every shape is right.
"""

import torch


# %% given: with its bug
def first_step(hidden_states, prompt, layers, reduce, mul, add):
    """hidden_states a list of depth + 1 tensors (B, N, width), prompt (B, E), layers a tuple of block numbers,
    reduce (B, N, width) -> (B, N, D), mul and add (B, E) -> (B, D) -> what enters the first decoder block."""
    activations = [hidden_states[layer] for layer in layers]
    deepest = activations[-1]
    x = reduce(deepest)
    return mul(prompt)[:, None] * x + add(prompt)[:, None]


# %% solution
def first_step(hidden_states, prompt, layers, reduce, mul, add):
    activations = [hidden_states[layer + 1] for layer in layers]
    deepest = activations[-1]
    x = reduce(deepest)
    return mul(prompt)[:, None] * x + add(prompt)[:, None]


# %% check: the first decoder step, its activation taken with a forward hook
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, width, dim, embed_dim, depth, layers in [(2, 4, 5, 3, 4, 5, (0, 1, 3)), (3, 3, 4, 4, 2, 4, (0, 2))]:
        blocks = [nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)]
        heads = [nn.Linear(width, dim), nn.Linear(embed_dim, dim), nn.Linear(embed_dim, dim)]
        for parameter in nn.ModuleList([*blocks, *heads]).double().parameters():
            parameter.data = random(*parameter.shape)
            parameter.requires_grad_(False)
        states = [random(batch, n, width)]
        for block in blocks:
            states.append(block(states[-1]))
        heads[0].tower = blocks
        yield {
            "hidden_states": states, "prompt": random(batch, embed_dim), "layers": layers,
            "reduce": heads[0], "mul": heads[1], "add": heads[2],
        }


def reference(hidden_states, prompt, layers, reduce, mul, add):
    caught = []
    hook = reduce.tower[max(layers)].register_forward_hook(lambda _, __, out: caught.append(out))
    nn.Sequential(*reduce.tower)(hidden_states[0])
    hook.remove()
    tokens = reduce(caught[0])
    return torch.stack([mul(prompt) * token + add(prompt) for token in tokens.unbind(1)], dim=1)


def flawed(hidden_states, prompt, layers, reduce, mul, add, shift=0, which=-1, order="mul", swap=False):
    x = reduce(hidden_states[layers[which] + shift])
    factor, offset = (add, mul) if swap else (mul, add)
    if order == "add":
        return factor(prompt)[:, None] * (x + offset(prompt)[:, None])
    return factor(prompt)[:, None] * x + offset(prompt)[:, None]


MISTAKES = [
    Mistake("that of the file as you were given it: the bug is still in it", shift=0),
    Mistake("the step one block too late: now it is off in the other direction", shift=2),
    Mistake("the step that begins with the shallowest activation: that line was right", shift=1, which=0),
    Mistake("the step whose FiLM adds first: that line was right", shift=1, order="add"),
    Mistake("the step with FiLM's two layers swapped: that line was right", shift=1, swap=True),
]

TASKS = [
    Task("first_step", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="the first step with an activation caught by a hook"),
]


# %% hints
HINTS = [
    ("Where to look", "How many hidden states does a tower of 12 blocks return here? What is number 0 of them?"),
    ("Try it small", "With layers = (0,), which block has been run on what comes out?"),
    ("The line", "Block i's output stands at number i + 1 of the list."),
]
