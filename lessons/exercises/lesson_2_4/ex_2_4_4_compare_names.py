"""2.4.4  What is missing, what is too much?  (10 minutes, difficulty 1 of 5)

Before weights are loaded, compare names and shapes and report everything at
once, like the message of `torch.nn.Module.load_state_dict(strict=True)`.
Hand in three sorted lists of names:

    "missing"       the model has it, the checkpoint does not
    "unexpected"    the checkpoint has it, the model does not
    "misshapen"     both have it, in different shapes
"""

import torch


def compare_names(checkpoint, model):
    """Two dicts {name: tensor} -> dict of three sorted lists of names."""
    raise NotImplementedError
