"""4.1.5  Find the bug: one block off  (10 minutes, difficulty 3 of 5)

Somebody's port of CLIPSeg on top of a library that returns all hidden
states of its tower: a list that begins with the tokens BEFORE the first
block. Official weights load, the masks look reasonable, the numbers are a
little worse than in the paper. `layers` counts blocks from 0 and means
their outputs. One line is wrong; every shape is right.
"""

import torch


def first_step(hidden_states, prompt, layers, reduce, mul, add):
    """hidden_states a list of depth + 1 tensors (B, N, width), prompt (B, E), layers a tuple of block numbers,
    reduce (B, N, width) -> (B, N, D), mul and add (B, E) -> (B, D) -> what enters the first decoder block."""
    activations = [hidden_states[layer] for layer in layers]
    deepest = activations[-1]
    x = reduce(deepest)
    return mul(prompt)[:, None] * x + add(prompt)[:, None]
