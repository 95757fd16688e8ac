"""Recall at k  (10 minutes, difficulty 2 of 5)

How good is the search? T texts, and T pictures in the same order; the
right picture for text t is picture t. Recall@k is the share of texts whose
picture is among the k best. The similarity matrix has pictures in its rows
and texts in its columns, as CLIP's logits do.
"""

import torch


# %% solution
def recall_at_k(similarity, k):
    """similarity (T pictures, T texts), k -> a float: text-to-image recall."""
    best = similarity.topk(k, dim=0).indices  # (k, T)
    return (best == torch.arange(similarity.shape[1])).any(dim=0).double().mean().item()


# %% check: recall against the rank of each text's picture
from lessons.checker import Mistake, Task


def cases(random):
    for count, k, gain in [(8, 1, 0.8), (12, 3, 0.3), (10, 5, 0.2), (6, 6, 0), (15, 2, 0.7)]:
        bias = random(count, 1) * 0.5  # some pictures are liked by all texts: the two directions differ
        yield {"similarity": random(count, count) + bias + gain * torch.eye(count, dtype=torch.float64), "k": k}


def reference(similarity, k):
    found = 0
    for text in range(similarity.shape[1]):
        column = similarity[:, text].tolist()
        found += sum(score > column[text] for score in column) < k
    return found / similarity.shape[1]


def flawed(similarity, k, axis=0, change=lambda k: k, share=lambda hit, k: hit.any(dim=0).double().mean(), sign=1):
    scores = sign * (similarity if axis == 0 else similarity.T)
    best = scores.topk(min(max(change(k), 1), len(scores)), dim=0).indices
    return share(best == torch.arange(len(scores)), k).item()


MISTAKES = [
    Mistake("the other direction: image-to-text recall", axis=1, fix="Texts are columns: look along dim=0."),
    Mistake("recall at 1, whatever k", change=lambda k: 1),
    Mistake("recall at k + 1", change=lambda k: k + 1, fix="A rank below k, counted from 0."),
    Mistake("recall at k - 1", change=lambda k: k - 1),
    Mistake("precision at k: the hits divided by k as well", share=lambda hit, k: hit.double().mean()),
    Mistake("the number of texts found, not their share", share=lambda hit, k: hit.any(dim=0).double().sum()),
    Mistake("the share of texts whose picture is among the k worst", sign=-1),
]

TASKS = [
    Task("recall_at_k", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="ranks counted one by one"),
]


# %% hints
HINTS = [
    ("Which axis?", "A text looks through the pictures: down its column, `dim=0`."),
    ("Where to begin", "`similarity.topk(k, dim=0).indices` is (k, T); compare with `torch.arange(T)`."),
    ("Larger than 1", "A text is found once: `any(dim=0)`, then the mean."),
]
