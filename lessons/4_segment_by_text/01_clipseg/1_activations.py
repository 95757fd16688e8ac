"""Pick the activations  (10 minutes, difficulty 2 of 5)

A decoder reads what comes OUT of some blocks of a frozen tower. Run the
tokens through the blocks and return the outputs of those whose numbers
stand in `layers`: counted from 0, ascending, so (0, 2) means behind the
first and behind the third block. Hand them back shallow to deep. Blocks
behind the last one that is read are not run at all: they would cost time
for nothing. Like forward hooks on the blocks of a torch.nn.Sequential.
"""

import torch


# %% solution
def pick_activations(x, blocks, layers):
    """x (B, N, D) tokens before the first block, blocks a list of functions (B, N, D) -> (B, N, D),
    layers a tuple of block numbers -> list of tensors (B, N, D), one for each number."""
    activations = []
    for number, block in enumerate(blocks[: layers[-1] + 1]):
        x = block(x)
        if number in layers:
            activations.append(x)
    return activations


# %% check: activations against forward hooks on a torch.nn.Sequential
import torch.nn.functional as F
from torch import nn

from lessons.checker import Mistake, Task


class NobodyReadsIt(Exception):
    """A block was run whose output, and that of all blocks behind it, is not wanted."""


class Unread(nn.Module):
    """The block behind the last one that is read."""

    def forward(self, x):
        raise NobodyReadsIt("this block was run, but no activation from here on is read")


def cases(random):
    for batch, n, dim, depth, layers, unread in [
        (2, 5, 4, 4, (0, 1, 3), 0),
        (3, 4, 6, 6, (1, 3, 5), 0),
        (1, 6, 4, 5, (2, 4), 0),
        (2, 3, 5, 4, (0, 2), 1),
    ]:
        modules = [nn.Sequential(nn.Linear(dim, dim), nn.Tanh()).double() for _ in range(depth)]
        for parameter in nn.ModuleList(modules).parameters():
            parameter.data = random(*parameter.shape)
            parameter.requires_grad_(False)
        if unread:
            modules[layers[-1] + 1] = Unread()
        yield {"x": random(batch, n, dim), "blocks": modules, "layers": layers}


def reference(x, blocks, layers):
    caught = {}
    hooks = [
        blocks[number].register_forward_hook(lambda _, __, out, number=number: caught.update({number: out}))
        for number in layers
    ]
    nn.Sequential(*blocks[: max(layers) + 1])(x)
    for hook in hooks:
        hook.remove()
    return [caught[number] for number in layers]


def flawed(x, blocks, layers, shift=0, order=1, keep=slice(None), norm=False, stop=True):
    last = layers[-1] + 1 + min(max(shift, 0), 1)
    states = [x]  # as transformers' hidden_states: what goes in stands at number 0
    for block in blocks[: min(last, len(blocks))] if stop else blocks:
        states.append(block(states[-1]))
    found = [states[max(0, min(number + 1 + shift, len(states) - 1))][:, keep] for number in layers]
    found = [F.layer_norm(one, one.shape[-1:]) for one in found] if norm else found
    return found[::order]


MISTAKES = [
    Mistake("what goes INTO the blocks of these numbers: all of them are one block too early", shift=-1,
            fix="Keep x after the block. In transformers' hidden_states, number 0 is what goes into block 0, so block "
                "i's output stands at i + 1."),
    Mistake("the outputs of the blocks one number too deep", shift=1,
            fix="The numbers count from 0: number 0 is the first block's output."),
    Mistake("the inputs of the blocks one number too early: two blocks off", shift=-2,
            fix="Count blocks from 0, and keep x after the block."),
    Mistake("the right activations, deep to shallow", order=-1, fix="Shallow to deep here."),
    Mistake("the activations without the class token", keep=slice(1, None),
            fix="Keep every token; the decoder drops the class token at its very end."),
    Mistake("the activations, each normalised", norm=True, fix="They are taken from the residual stream as they are."),
    Mistake("the right activations, but all blocks were run", stop=False,
            fix="Stop behind the last block that is read."),
]

TASKS = [
    Task("pick_activations", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="forward hooks on the blocks"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "`for number, block in enumerate(blocks):` gives each block its number, counted from 0. Run the block first, then "
     "ask whether its number is wanted."),
    ("Everything is one block too early", "What is kept must be x after `x = block(x)`, not before."),
    ("A block complains that nobody reads it",
     "Stop behind the last number that is wanted: `blocks[: layers[-1] + 1]`, or `break`."),
]
