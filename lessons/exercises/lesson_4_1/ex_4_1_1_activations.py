"""4.1.1  Pick the activations  (10 minutes, difficulty 2 of 5)

A decoder reads what comes OUT of some blocks of a frozen tower. Run the
tokens through the blocks and return the outputs of those whose numbers
stand in `layers`: counted from 0, ascending, so (0, 2) means behind the
first and behind the third block. Hand them back shallow to deep. Blocks
behind the last one that is read are not run at all: they would cost time
for nothing. Like forward hooks on the blocks of a torch.nn.Sequential.
"""

import torch


def pick_activations(x, blocks, layers):
    """x (B, N, D) tokens before the first block, blocks a list of functions (B, N, D) -> (B, N, D),
    layers a tuple of block numbers -> list of tensors (B, N, D), one for each number."""
    raise NotImplementedError
