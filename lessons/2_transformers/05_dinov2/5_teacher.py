"""The teacher follows  (5 minutes, difficulty 2 of 5)

The teacher is not trained. After each step it becomes a little more like the
student, every parameter by itself (Caron et al. 2021, section 3.1):

    teacher <- momentum * teacher + (1 - momentum) * student

and the momentum rises along half a cosine, from its start at step 0 to 1 at
the last step (step == steps):

    momentum(step) = 1 - (1 - start) * (1 + cos(pi * step / steps)) / 2

Give back the teacher's new parameters; change none of the ones you got.
"""

import math

import torch


# %% solution
def follow(teacher, student, step, steps, start):
    """Dicts {name: tensor} with the same names -> the teacher's new dict."""
    momentum = 1 - (1 - start) * (1 + math.cos(math.pi * step / steps)) / 2
    return {name: momentum * theirs + (1 - momentum) * student[name] for name, theirs in teacher.items()}


# %% check: the teacher's step against torch's own averaging of models
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lessons.checker import Mistake, Task


def cases(random):
    for step, steps, start in [(0, 10, 0.9), (3, 10, 0.8), (7, 8, 0.5), (4, 4, 0.9)]:
        shapes = {"weight": (3, 2), "bias": (3,), "scale": (2,)}
        both = [{name: random(*shape) for name, shape in shapes.items()} for _ in range(2)]
        yield {"teacher": both[0], "student": both[1], "step": step, "steps": steps, "start": start}


def reference(teacher, student, step, steps, start):
    def module(tensors):
        return nn.ParameterDict({name: nn.Parameter(tensor.clone()) for name, tensor in tensors.items()})

    along = torch.cos(torch.tensor(torch.pi * step / steps, dtype=torch.float64)).item()
    momentum = 1 - (1 - start) * (0.5 + 0.5 * along)
    averaged = AveragedModel(module(teacher), multi_avg_fn=get_ema_multi_avg_fn(momentum))
    averaged.n_averaged += 1  # the first update copies
    averaged.update_parameters(module(student))
    return {name: tensor.detach() for name, tensor in averaged.module.items()}


def flawed(teacher, student, step, steps, start, swap=False, schedule="cosine", only=None):
    along = {"cosine": 0.5 * (1 + math.cos(math.pi * step / steps)), "linear": 1 - step / steps, "none": 1.0}
    along |= {"falling": 0.5 * (1 - math.cos(math.pi * step / steps)), "whole": math.cos(math.pi * step / steps)}
    momentum = 1 - (1 - start) * along[schedule]
    momentum = 1 - momentum if swap else momentum
    return {
        name: momentum * theirs + (1 - momentum) * student[name] if only is None or name in only else theirs
        for name, theirs in teacher.items()
    }


MISTAKES = [
    Mistake("the average with the momentum on the student: the teacher nearly becomes the student at once", swap=True,
            fix="momentum * teacher + (1 - momentum) * student."),
    Mistake("the average with the start's momentum at every step", schedule="none"),
    Mistake("the average with a momentum that rises in a straight line", schedule="linear"),
    Mistake("the average with a momentum that falls", schedule="falling", fix="cos(0) is 1."),
    Mistake("the average with cos alone, not (1 + cos) / 2", schedule="whole"),
    Mistake("the average of the weights alone: biases count too", only=("weight",)),
    Mistake("the student: nothing is left of the teacher", lambda t, s, *_: dict(s)),
    Mistake("the teacher as it was", lambda t, s, *_: dict(t)),
]

TASKS = [
    Task("follow", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="the moving average"),
]


# %% hints
HINTS = [
    ("The teacher jumps to the student", "momentum is near 1 and belongs to the teacher."),
    ("Right at step 0, wrong later", "The momentum rises: at the last step it is 1 and the teacher stands still."),
    ("The names do not fit", "Return a new dict: {name: ... for name in teacher}."),
]
