"""Cross entropy, stable  (10 minutes, difficulty 2 of 5)

What does the loss do inside? For each row of logits: the logarithm of the
sum of exps, minus the logit of the right class; then the mean over rows.
Like `torch.nn.functional.cross_entropy(logits, labels)`.

CLIP's logits reach 100 and a bad start can give thousands: `exp(1000)` is
infinite, so the largest logit of each row is subtracted first and added
again behind the logarithm.
"""

import torch


# %% solution
def cross_entropy(logits, labels):
    """logits (B, C), labels (B) of whole numbers -> loss ()."""
    top = logits.max(dim=-1, keepdim=True).values
    log_sum = top[:, 0] + (logits - top).exp().sum(dim=-1).log()
    return (log_sum - logits[torch.arange(len(logits)), labels]).mean()


# %% check: the loss against torch.nn.functional.cross_entropy
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for batch, classes, size in [(3, 4, 1), (5, 3, 4), (4, 6, 2), (3, 5, 2000)]:
        yield {"logits": random(batch, classes) * size, "labels": random.integers(0, classes, batch)}


def flawed(logits, labels, axis=-1, stable=True, sign=1, reduce=torch.mean, base=1.0, score=lambda x: x):
    top = logits.max(dim=axis, keepdim=True).values if stable else torch.zeros_like(logits)
    logs = logits - top - (logits - top).exp().sum(dim=axis, keepdim=True).log()
    chosen = score(logs)[torch.arange(len(logits)), labels]
    return -sign * reduce(chosen) / base


MISTAKES = [
    Mistake("the sum over the batch instead of the mean", reduce=torch.sum),
    Mistake("the loss with the opposite sign", sign=-1, fix="log sum exp minus the right logit."),
    Mistake("the loss with exp() of the raw logits, which overflows", stable=False, fix="Subtract each row's largest."),
    Mistake("the loss with the softmax over the batch", axis=0, fix="Along dim=-1, the classes."),
    Mistake("the probability instead of its logarithm", score=torch.exp, fix="Take the logarithm."),
    Mistake("one minus the probability instead of minus its logarithm",
            lambda x, y: (1 - x.softmax(-1)[torch.arange(len(x)), y]).mean()),
    Mistake("the loss in bits: the logarithm to the base 2", base=0.6931471805599453, fix="The natural logarithm."),
    Mistake("the mean over all classes instead of the right one", lambda x, y: -x.log_softmax(-1).mean(),
            fix="Take logits[torch.arange(B), labels]."),
    Mistake("the right classes' logits alone, negative: the sum of exps is missing",
            lambda x, y: -x[torch.arange(len(x)), y].mean()),
    Mistake("the loss without adding the largest logit again",
            lambda x, y: (
                (x - x.max(dim=-1, keepdim=True).values).exp().sum(-1).log() - x[torch.arange(len(x)), y]
            ).mean(), fix="What was subtracted inside comes back behind the logarithm."),
]

TASKS = [
    Task("cross_entropy", cases, reference=F.cross_entropy, flawed=flawed, mistakes=MISTAKES, gradients=("logits",),
         like="torch.nn.functional.cross_entropy",
         forbidden=("cross_entropy", "CrossEntropyLoss", "nll_loss", "log_softmax", "logsumexp")),
]


# %% hints
HINTS = [
    ("Where is the right class's logit?", "`logits[torch.arange(B), labels]` takes one number from each row."),
    ("inf or NaN",
     "`log(sum(exp(x))) = m + log(sum(exp(x - m)))` for any m; with the row's largest it cannot overflow."),
    ("The sign", "log sum exp is larger than any single logit, so the loss is positive."),
]
