"""The check of 5.3.3: crumbs against POT's exact solver."""

import math

import numpy as np
import ot
import torch
from scipy.optimize import linear_sum_assignment

from lessons.checker import Mistake, Task

HINTS = [
    ("How many crumbs", "The least number that both R and M divide: `math.lcm(R, M)`."),
    ("Cutting", "`cost.repeat_interleave(crumbs // R, dim=0).repeat_interleave(crumbs // M, dim=1)`."),
    ("What a crumb weighs", "1 / crumbs: the mean of the assigned costs."),
]


def emd(cost):
    rows, columns = cost.shape
    crumbs = math.lcm(rows, columns)
    cut = cost.repeat_interleave(crumbs // rows, dim=0).repeat_interleave(crumbs // columns, dim=1)
    return cut[linear_sum_assignment(cut)].mean().item()


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


TASKS = [
    Task(
        "emd",
        cases,
        reference=reference,
        like="ot.emd2",
        forbidden=("emd", "emd2", "ot"),
        mistakes=[
            Mistake(
                "the best assignment of whole patches: some are left out when R and M differ", uncut, fix="Crumbs."
            ),
            Mistake(
                "the assignment of crumbs, summed and not divided", crumbled, total=torch.sum, fix="Take the mean."
            ),
            Mistake("each reference patch moved to its cheapest place", lambda c: c.amin(dim=1).mean().item()),
            Mistake("each patch of the mask served from its cheapest source", lambda c: c.amin(dim=0).mean().item()),
            Mistake("the mean of all costs", lambda c: c.mean().item(), fix="Only what is moved costs."),
            Mistake("the dearest way to move everything", crumbled, sign=-1, fix="linear_sum_assignment minimises."),
            Mistake("the assignment after patches were cut into whole times only", repeated_wrongly, fix="math.lcm."),
            Mistake("the squared costs moved", crumbled, change=torch.square, fix="The cost as it is."),
        ],
    )
]
