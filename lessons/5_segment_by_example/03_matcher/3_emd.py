"""The earth mover's distance, from an assignment  (15 minutes, difficulty 3 of 5)

R patches of the reference must become M patches of a mask. All reference
patches weigh the same (1 / R each), so do the mask's (1 / M each), and moving
weight w from r to m costs w times cost[r, m]. The earth mover's distance is
the cheapest way to move everything, like `ot.emd2([], [], cost)` of POT, which
you may not call.

If R = M, no patch is ever split and the best assignment
(`scipy.optimize.linear_sum_assignment`) is the answer, divided by R. If not:
cut every patch into equal crumbs so that both sides have equally many, and
assign crumbs.
"""

import math

import torch
from scipy.optimize import linear_sum_assignment


# %% solution
def emd(cost):
    """cost (R, M) -> a float."""
    rows, columns = cost.shape
    crumbs = math.lcm(rows, columns)
    cut = cost.repeat_interleave(crumbs // rows, dim=0).repeat_interleave(crumbs // columns, dim=1)
    return cut[linear_sum_assignment(cut)].mean().item()


# %% check: crumbs against POT's exact solver
import numpy as np
import ot

from lessons.checker import Mistake, Task


def cases(random):
    for rows, columns in [(4, 4), (3, 5), (6, 4), (2, 7), (5, 1)]:
        yield {"cost": random(rows, columns).abs()}


def reference(cost):
    return float(ot.emd2([], [], np.ascontiguousarray(cost.numpy())))


def uncut(cost, divide=True):
    values = cost[linear_sum_assignment(cost)]
    return (values.mean() if divide else values.sum()).item()


def crumbled(cost, change=lambda c: c, sign=1, total=torch.mean):
    rows, columns = cost.shape
    crumbs = math.lcm(rows, columns)
    cut = change(cost).repeat_interleave(crumbs // rows, dim=0).repeat_interleave(crumbs // columns, dim=1)
    return total(cut[linear_sum_assignment(sign * cut)]).item()


def repeated_wrongly(cost):
    """R copies of the rows for M columns: the sides are not equally heavy."""
    rows, columns = cost.shape
    cut = cost.repeat_interleave(max(1, columns // rows), dim=0).repeat_interleave(max(1, rows // columns), dim=1)
    return cut[linear_sum_assignment(cut)].mean().item()


MISTAKES = [
    Mistake("the best assignment of whole patches: some are left out when R and M differ", uncut, fix="Crumbs."),
    Mistake("the assignment of crumbs, summed and not divided", total=torch.sum, fix="Take the mean."),
    Mistake("each reference patch moved to its cheapest place", lambda c: c.amin(dim=1).mean().item()),
    Mistake("each patch of the mask served from its cheapest source", lambda c: c.amin(dim=0).mean().item()),
    Mistake("the mean of all costs", lambda c: c.mean().item(), fix="Only what is moved costs."),
    Mistake("the dearest way to move everything", sign=-1, fix="linear_sum_assignment minimises."),
    Mistake("the assignment after patches were cut into whole times only", repeated_wrongly, fix="math.lcm."),
    Mistake("the squared costs moved", change=torch.square, fix="The cost as it is."),
]

TASKS = [
    Task("emd", cases, reference=reference, flawed=crumbled, mistakes=MISTAKES, like="ot.emd2",
         forbidden=("emd", "emd2", "ot")),
]


# %% hints
HINTS = [
    ("How many crumbs", "The least number that both R and M divide: `math.lcm(R, M)`."),
    ("Cutting", "`cost.repeat_interleave(crumbs // R, dim=0).repeat_interleave(crumbs // M, dim=1)`."),
    ("What a crumb weighs", "1 / crumbs: the mean of the assigned costs."),
]
