"""4.1.3  The decoder's walk  (20 minutes, difficulty 3 of 5)

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


def decoder_tokens(activations, prompt, parts):
    """activations a list of (B, N, width), shallow to deep, prompt (B, E) -> dict with film, first, tokens."""
    raise NotImplementedError
