"""The check of 2.5.3: Sinkhorn-Knopp against the same in logarithms."""

from lessons.checker import Mistake, Task

HINTS = [
    ("Infinite or not a number", "Subtract `logits.max()` before `exp`: a constant factor cancels in the divisions."),
    ("Columns sum to one, rows do not", "The rows come last."),
    ("A little off", "Three rounds, each with both divisions; columns over `dim=0`, rows over `dim=1`."),
]


def sinkhorn(logits, heat):
    shares = ((logits - logits.max()) / heat).exp()
    for _ in range(3):
        shares = shares / shares.sum(dim=0, keepdim=True)
        shares = shares / shares.sum(dim=1, keepdim=True)
    return shares


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


TASKS = [
    Task(
        "sinkhorn",
        cases,
        reference=reference,
        like="Sinkhorn-Knopp",
        gradients=("logits",),
        mistakes=[
            Mistake(
                "Sinkhorn with rows first and columns last: the samples no longer sum to one",
                flawed,
                order=(1, 0),
                fix="Columns first, rows last.",
            ),
            Mistake(
                "a softmax over the prototypes: nothing keeps all samples from the same one",
                flawed,
                order=(1,),
                fix="Divide the columns by their sums too.",
            ),
            Mistake("a softmax over the samples", flawed, order=(0,)),
            Mistake("Sinkhorn after a single round", flawed, rounds=1),
            Mistake("Sinkhorn after two rounds", flawed, rounds=2),
            Mistake("Sinkhorn after four rounds", flawed, rounds=4),
            Mistake("Sinkhorn without the temperature", flawed, heated=False, fix="Divide the logits by heat first."),
            Mistake("Sinkhorn without its last division of the rows", flawed, last=False),
            Mistake(
                "Sinkhorn multiplied by the temperature instead of divided",
                lambda logits, heat: reference(logits, 1 / heat),
            ),
        ],
    )
]
