"""What is missing, what is too much?  (10 minutes, difficulty 1 of 5)

Before weights are loaded, compare names and shapes and report everything at
once, like the message of `torch.nn.Module.load_state_dict(strict=True)`.
Hand in three sorted lists of names:

    "missing"       the model has it, the checkpoint does not
    "unexpected"    the checkpoint has it, the model does not
    "misshapen"     both have it, in different shapes
"""

import torch


# %% solution
def compare_names(checkpoint, model):
    """Two dicts {name: tensor} -> dict of three sorted lists of names."""
    shared = [name for name in model if name in checkpoint]
    return {
        "missing": sorted(name for name in model if name not in checkpoint),
        "unexpected": sorted(name for name in checkpoint if name not in model),
        "misshapen": sorted(name for name in shared if model[name].shape != checkpoint[name].shape),
    }


# %% check: names against what torch's load_state_dict complains about
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    full = {"norm.weight": (4,), "head.weight": (2, 6), "head.bias": (2,), "attn.weight": (4, 4), "attn.bias": (4,)}
    changes = [
        ({"head.weight": (3, 4), "zeta": (1,), "extra": (2,)}, ["norm.weight", "attn.bias"]),
        ({"attn.weight": (4, 5), "norm.weight": (1, 4), "attn.bias": (1,)}, []),
        ({"norm": (4,), "beta": (2, 2), "alpha": (3,)}, ["head.weight", "attn.weight", "norm.weight"]),
        ({}, []),
    ]
    for change, missing in changes:
        given = {name: shape for name, shape in (full | change).items() if name not in missing}
        names = list(given)
        order = random.order(len(names)).tolist()
        yield {
            "checkpoint": {names[at]: random(*given[names[at]]) for at in order},
            "model": {name: random(*shape) for name, shape in full.items()},
        }


class Holder(nn.Module):
    """A module whose parameters have the names and shapes of a dict."""

    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            *path, last = name.split(".")
            module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            module.register_parameter(last, nn.Parameter(tensor.clone(), requires_grad=False))


def reference(checkpoint, model):
    holder = Holder(model)
    misshapen = [name for name in model if name in checkpoint and model[name].shape != checkpoint[name].shape]
    fitting = {name: tensor for name, tensor in checkpoint.items() if name not in misshapen}
    fitting |= {name: model[name] for name in misshapen}
    missing, unexpected = holder.load_state_dict(fitting, strict=False)
    return {"missing": sorted(missing), "unexpected": sorted(unexpected), "misshapen": sorted(misshapen)}


def flawed(
    checkpoint, model, differ=lambda a, b: a.shape != b.shape, order=sorted, swapped=False, also=False, prefix=False
):
    missing, unexpected = [n for n in model if n not in checkpoint], [n for n in checkpoint if n not in model]
    if prefix:
        unexpected = [n for n in unexpected if not any(m.startswith(n) for m in model)]
    misshapen = [n for n in model if n in checkpoint and differ(model[n], checkpoint[n])]
    if also:
        missing, unexpected = missing + misshapen, unexpected + misshapen
    if swapped:
        missing, unexpected = unexpected, missing
    return {"missing": order(missing), "unexpected": order(unexpected), "misshapen": order(misshapen)}


MISTAKES = [
    Mistake("the lists with missing and unexpected swapped", swapped=True, fix="Missing: the model has it."),
    Mistake("the lists in no fixed order", order=list, fix="sorted(...)."),
    Mistake("the lists with only the number of axes compared", differ=lambda a, b: a.ndim != b.ndim,
            fix="Compare .shape."),
    Mistake("the lists with only the number of numbers compared", differ=lambda a, b: a.numel() != b.numel(),
            fix="Compare .shape: (2, 6) and (3, 4) are different."),
    Mistake("the lists with only the first axis compared", differ=lambda a, b: a.shape[0] != b.shape[0]),
    Mistake("the lists with misshapen names in missing and unexpected too", also=True),
    Mistake("the lists in which a name counts as known when it begins one of the model's", prefix=True),
    Mistake("the lists without any misshapen name", differ=lambda a, b: False),
]

TASKS = [
    Task("compare_names", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="load_state_dict's own lists"),
]


# %% hints
HINTS = [
    ("Where to begin", "Names are the keys of a dict, and dicts can be asked: name in model."),
    ("missing and unexpected are swapped", "Missing is seen from the model: it asks, the checkpoint does not answer."),
    ("misshapen is wrong", "Compare .shape itself: (2, 6) and (3, 4) hold equally many numbers."),
]
