"""Accuracy in the batch  (5 minutes, difficulty 1 of 5)

A number to watch while training: of B pictures and B captions, for which
share of the pictures is their own caption the best of all, and the other
way round? Logits are (pictures, captions); the right pairs stand on the
diagonal.

    {"image_to_text": a float from 0 to 1, "text_to_image": the same}
"""

import torch


# %% solution
def batch_accuracy(logits):
    """logits (B, B) -> dict of two floats."""
    right = torch.arange(len(logits))
    return {
        "image_to_text": (logits.argmax(dim=1) == right).double().mean().item(),
        "text_to_image": (logits.argmax(dim=0) == right).double().mean().item(),
    }


# %% check: two shares against a loop over pairs
from lessons.checker import Mistake, Task


def cases(random):
    for batch in (4, 7, 5, 9):
        yield {"logits": random(batch, batch) + 1.2 * torch.eye(batch, dtype=torch.float64)}
    skewed = random(6, 6) + torch.eye(6, dtype=torch.float64)
    skewed[2] += 8  # one picture that every caption likes
    yield {"logits": skewed}


def reference(logits):
    rows = logits.tolist()
    count = len(rows)
    pictures = sum(all(rows[i][i] >= other for other in rows[i]) for i in range(count))
    texts = sum(all(rows[i][i] >= rows[j][i] for j in range(count)) for i in range(count))
    return {"image_to_text": pictures / count, "text_to_image": texts / count}


def flawed(logits, axes=(1, 0), best=torch.argmax, share=True, sure=False):
    right, found = torch.arange(len(logits)), []
    for axis in axes:
        hit = best(logits, dim=axis) == right
        hit = hit & (logits.diagonal() > 0) if sure else hit
        found.append(hit.double().mean().item() if share else float(hit.sum()))
    return {"image_to_text": found[0], "text_to_image": found[1]}


MISTAKES = [
    Mistake("the two directions swapped", axes=(0, 1), fix="Pictures are rows: their captions lie along dim=1."),
    Mistake("the picture-to-text share in both places", axes=(1, 1), fix="Captions choose along dim=0."),
    Mistake("the text-to-picture share in both places", axes=(0, 0), fix="Pictures choose along dim=1."),
    Mistake("the counts, not the shares", share=False, fix="Divide by B."),
    Mistake("the share whose own pair is the worst of all", best=torch.argmin, fix="argmax."),
    Mistake("the share of pairs that are best and have a logit above 0", sure=True, fix="Only the order counts."),
    Mistake("the mean of the softmax on the diagonal, a smoother number",
            lambda x: {
                "image_to_text": x.softmax(1).diagonal().mean().item(),
                "text_to_image": x.softmax(0).diagonal().mean().item(),
            }),
]

TASKS = [
    Task("batch_accuracy", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="the shares counted by hand"),
]


# %% hints
HINTS = [
    ("Where to begin", "`logits.argmax(dim=1)` is each picture's best caption; compare with `torch.arange(B)`."),
    ("The two are swapped", "Rows are pictures: a picture's captions lie along `dim=1`."),
    ("A tensor came back", "(...).double().mean().item() is a plain float."),
]
