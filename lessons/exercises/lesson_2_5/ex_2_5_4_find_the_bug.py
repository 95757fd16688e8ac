"""2.5.4  Find the bug: a student that learns nothing  (10 minutes, difficulty 4 of 5)

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
