"""Find the bug: a student that learns nothing  (10 minutes, difficulty 4 of 5)

Somebody's loss of self-distillation (Caron et al. 2021, eq. 2 and 3). Two
views of each picture went through teacher and student. For each pair of
DIFFERENT views the student should say what the teacher says: the mean over
pairs and pictures of the cross entropy

    - sum_k  teacher_k  log student_k

teacher = softmax((t - centre) / 0.04), student = softmax(s / 0.1). The loss
falls at once, and the features stay useless: one line is wrong. Which one
makes the task too easy?
"""

import torch


# %% given: with its bug
def self_distillation_loss(student, teacher, centre):
    """Logits of two views (2, B, K) from student and teacher, centre (K) -> a number."""
    answers = torch.log_softmax(student / 0.1, dim=-1)
    targets = torch.softmax((teacher - centre) / 0.04, dim=-1)
    losses = []
    for seen_by_teacher in range(2):
        for seen_by_student in range(2):
            if seen_by_teacher != seen_by_student:
                continue
            target, answer = targets[seen_by_teacher], answers[seen_by_student]
            losses.append(-(target * answer).sum(dim=-1).mean())
    return torch.stack(losses).mean()


# %% solution
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


# %% check: DINO's loss against torch's cross entropy
import torch.nn.functional as F

from lessons.checker import Mistake, Task


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


MISTAKES = [
    Mistake("that of the file as you were given it: student and teacher still see the same view",
            pairs=((0, 0), (1, 1)), fix="Skip the pairs where both see the same view."),
    Mistake("the loss over all four pairs: the two of the same view are still in it",
            pairs=((0, 0), (0, 1), (1, 0), (1, 1)), fix="Skip the pairs where both see the same view."),
    Mistake("the loss of one pair alone: the teacher sees only view 0", pairs=((0, 1),)),
    Mistake("the loss of one pair alone: the teacher sees only view 1", pairs=((1, 0),)),
    Mistake("the loss with the temperatures exchanged: those lines were right", heats=(0.04, 0.1)),
    Mistake("the loss with one temperature for both: that line was right", heats=(0.1, 0.1)),
    Mistake("the loss without the centre: that line was right", sign=0),
    Mistake("the loss with the centre added: that line was right", sign=-1),
    Mistake("the Kullback-Leibler divergence, not the cross entropy", entropy=True),
    Mistake("the sum over the pairs, not the mean", total=True),
]

TASKS = [
    Task("self_distillation_loss", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("student",),
         like="the loss over different views"),
]


# %% hints
HINTS = [
    ("Where to look", "What does the student see when the teacher sees view 0?"),
    ("Try it small", "Print the two numbers of each pair that is not skipped. Are they different views?"),
    ("The line", "`continue` skips a pair. Which pairs should be skipped?"),
]
