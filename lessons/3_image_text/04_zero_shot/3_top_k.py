"""Top-k accuracy  (5 minutes, difficulty 1 of 5)

The share of pictures whose right class is among the k best ones. Like
torchmetrics' `MulticlassAccuracy(top_k=k, average="micro")`.
"""

import torch


# %% solution
def top_k_accuracy(logits, labels, k):
    """logits (B, C), labels (B), k a whole number -> a float from 0 to 1."""
    best = logits.topk(k, dim=-1).indices
    return (best == labels[:, None]).any(dim=-1).double().mean().item()


# %% check: the share against a count of better classes
from lessons.checker import Mistake, Task


def cases(random):
    for batch, classes, k in [(20, 6, 1), (20, 6, 3), (30, 5, 2), (12, 12, 4)]:
        labels = random.integers(0, classes, batch)
        logits = random(batch, classes)
        logits[torch.arange(batch), labels] += 0.5
        yield {"logits": logits, "labels": labels, "k": k}


def reference(logits, labels, k):
    hits = 0
    for row, label in zip(logits.tolist(), labels.tolist()):
        better = sum(score > row[label] for score in row)
        hits += better < k
    return hits / len(labels)


def flawed(logits, labels, k, larger=1, share=lambda hit: hit.any(dim=-1).double().mean(), change=lambda k: k, sign=1):
    best = (sign * logits).topk(max(1, min(change(k), logits.shape[1])), dim=-1).indices
    return share(best == labels[:, None]).item()


def mean_per_class(logits, labels, k):
    hit = (logits.topk(k, dim=-1).indices == labels[:, None]).any(dim=-1).double()
    return torch.stack([hit[labels == label].mean() for label in labels.unique()]).mean().item()


MISTAKES = [
    Mistake("the accuracy of the single best class, whatever k", change=lambda k: 1),
    Mistake("the accuracy among the k + 1 best", change=lambda k: k + 1),
    Mistake("the accuracy among the k - 1 best", change=lambda k: k - 1),
    Mistake("the share of the k * B guesses that are right", share=lambda hit: hit.double().mean(),
            fix="A picture counts once: any(dim=-1)."),
    Mistake("the accuracy among the k worst classes", sign=-1),
    Mistake("the number of hits, not their share", share=lambda hit: hit.any(dim=-1).double().sum()),
    Mistake("the mean of each class's own accuracy", mean_per_class, fix="Every picture counts the same."),
]

TASKS = [
    Task("top_k_accuracy", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="a count of better classes"),
]


# %% hints
HINTS = [
    ("Where to begin", "`logits.topk(k, dim=-1).indices` is (B, k): is the label among them?"),
    ("Comparing (B, k) with (B)", "`labels[:, None]` compares each label with all k of its picture."),
    ("Larger than 1, or too small", "A picture counts once: `any(dim=-1)`, then the mean over pictures."),
]
