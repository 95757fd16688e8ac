"""The check of 2.5.4: DINO's loss against torch's cross entropy."""

import torch
import torch.nn.functional as F

from lessons.checker import Mistake, Task

HINTS = [
    ("Where to look", "What does the student see when the teacher sees view 0?"),
    ("Try it small", "Print the two numbers of each pair that is not skipped. Are they different views?"),
    ("The line", "`continue` skips a pair. Which pairs should be skipped?"),
]


def self_distillation_loss(student, teacher, centre):
    answers = torch.log_softmax(student / 0.1, dim=-1)
    targets = torch.softmax((teacher - centre) / 0.04, dim=-1)
    losses = []
    for seen_by_teacher in range(2):
        for seen_by_student in range(2):
            if seen_by_teacher == seen_by_student:
                continue
            target, answer = targets[seen_by_teacher], answers[seen_by_student]
            losses.append(-(target * answer).sum(dim=-1).mean())
    return torch.stack(losses).mean()


def cases(random):
    for batch, prototypes in [(3, 4), (2, 6), (5, 3)]:
        yield {"student": 0.3 * random(2, batch, prototypes), "teacher": 0.2 * random(2, batch, prototypes)} | {
            "centre": 0.1 * random(prototypes)
        }


def reference(student, teacher, centre):
    target = F.softmax((teacher.flip(0) - centre) / 0.04, dim=-1)
    return F.cross_entropy((student / 0.1).flatten(0, 1), target.flatten(0, 1))


def flawed(student, teacher, centre, pairs=((0, 1), (1, 0)), heats=(0.1, 0.04), sign=1, entropy=False, total=False):
    answers = torch.log_softmax(student / heats[0], dim=-1)
    targets = torch.softmax((teacher - sign * centre) / heats[1], dim=-1)
    losses = []
    for theirs, ours in pairs:
        loss = -(targets[theirs] * answers[ours]).sum(dim=-1)
        if entropy:
            loss = loss + (targets[theirs] * targets[theirs].log()).sum(dim=-1)
        losses.append(loss.mean())
    losses = torch.stack(losses)
    return losses.sum() if total else losses.mean()


TASKS = [
    Task(
        "self_distillation_loss",
        cases,
        reference=reference,
        like="the loss over different views",
        gradients=("student",),
        mistakes=[
            Mistake(
                "that of the file as you were given it: student and teacher still see the same view",
                flawed,
                pairs=((0, 0), (1, 1)),
                fix="Skip the pairs where both see the same view.",
            ),
            Mistake(
                "the loss over all four pairs: the two of the same view are still in it",
                flawed,
                pairs=((0, 0), (0, 1), (1, 0), (1, 1)),
                fix="Skip the pairs where both see the same view.",
            ),
            Mistake("the loss of one pair alone: the teacher sees only view 0", flawed, pairs=((0, 1),)),
            Mistake("the loss of one pair alone: the teacher sees only view 1", flawed, pairs=((1, 0),)),
            Mistake("the loss with the temperatures exchanged: those lines were right", flawed, heats=(0.04, 0.1)),
            Mistake("the loss with one temperature for both: that line was right", flawed, heats=(0.1, 0.1)),
            Mistake("the loss without the centre: that line was right", flawed, sign=0),
            Mistake("the loss with the centre added: that line was right", flawed, sign=-1),
            Mistake("the Kullback-Leibler divergence, not the cross entropy", flawed, entropy=True),
            Mistake("the sum over the pairs, not the mean", flawed, total=True),
        ],
    )
]
