"""5.2.4  Find the bug: a way back that forgives everything  (10 minutes, difficulty 3 of 5)

Matcher goes from the marked reference patches to the target by an assignment,
and from the matched target patches back to the reference by another one. A
pair stays if the way back ends at any marked patch. This function has the
right shapes and never complains, and it never removes an outlier either. One
line is wrong.
"""

import torch
from scipy.optimize import linear_sum_assignment


def keep_returning(cosines, marked):
    """cosines (R, N), marked (R) bool -> target patches that stay, int64, in the order of the marked patches."""
    inside = torch.where(marked)[0]
    _, target = linear_sum_assignment(cosines[inside], maximize=True)
    target = torch.from_numpy(target)
    _, back = linear_sum_assignment(cosines[inside][:, target].T, maximize=True)
    returned = marked[inside[torch.from_numpy(back)]]
    return target[returned]
