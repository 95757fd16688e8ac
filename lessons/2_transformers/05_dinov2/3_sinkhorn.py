"""Every prototype its share  (10 minutes, difficulty 3 of 5)

The teacher says for each sample how much it belongs to each prototype. If
nothing stops it, soon every sample belongs to the same one. Sinkhorn-Knopp
(DINOv2, section 4) makes that impossible:

    start with  exp(logits / heat)
    three times:  divide each column by its sum   (each prototype equal)
                  then each row by its sum        (each sample sums to 1)

In this order, rows last. Subtract the largest logit first: exp(50 / 0.05)
is no number any more.
"""

import torch


# %% solution
def sinkhorn(logits, heat):
    """logits (samples, prototypes), heat a number -> shares (samples, prototypes), rows sum to one."""
    shares = ((logits - logits.max()) / heat).exp()
    for _ in range(3):
        shares = shares / shares.sum(dim=0, keepdim=True)
        shares = shares / shares.sum(dim=1, keepdim=True)
    return shares


# %% check: Sinkhorn-Knopp against the same in logarithms
from lessons.checker import Mistake, Task


def cases(random):
    for samples, prototypes, heat in [(6, 4, 0.5), (5, 8, 0.3), (9, 3, 0.7)]:
        yield {"logits": random(samples, prototypes), "heat": heat}
    yield {"logits": random(4, 3) + 400.0, "heat": 0.5}


def reference(logits, heat):
    log = logits / heat
    for _ in range(3):
        log = log - log.logsumexp(dim=0, keepdim=True)
        log = log - log.logsumexp(dim=1, keepdim=True)
    return log.exp()


def flawed(logits, heat, rounds=3, order=(0, 1), heated=True, last=True):
    shares = ((logits - logits.max()) / heat).exp() if heated else (logits - logits.max()).exp()
    for number in range(rounds):
        for dim in order if last or number < rounds - 1 else order[:1]:
            shares = shares / shares.sum(dim=dim, keepdim=True)
    return shares


MISTAKES = [
    Mistake("Sinkhorn with rows first and columns last: the samples no longer sum to one", order=(1, 0),
            fix="Columns first, rows last."),
    Mistake("a softmax over the prototypes: nothing keeps all samples from the same one", order=(1,),
            fix="Divide the columns by their sums too."),
    Mistake("a softmax over the samples", order=(0,)),
    Mistake("Sinkhorn after a single round", rounds=1),
    Mistake("Sinkhorn after two rounds", rounds=2),
    Mistake("Sinkhorn after four rounds", rounds=4),
    Mistake("Sinkhorn without the temperature", heated=False, fix="Divide the logits by heat first."),
    Mistake("Sinkhorn without its last division of the rows", last=False),
    Mistake("Sinkhorn multiplied by the temperature instead of divided",
            lambda logits, heat: reference(logits, 1 / heat)),
]

TASKS = [
    Task("sinkhorn", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("logits",),
         like="Sinkhorn-Knopp"),
]


# %% hints
HINTS = [
    ("Infinite or not a number", "Subtract `logits.max()` before `exp`: a constant factor cancels in the divisions."),
    ("Columns sum to one, rows do not", "The rows come last."),
    ("A little off", "Three rounds, each with both divisions; columns over `dim=0`, rows over `dim=1`."),
]
