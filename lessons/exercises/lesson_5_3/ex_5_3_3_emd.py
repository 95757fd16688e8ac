"""5.3.3  The earth mover's distance, from an assignment  (15 minutes, difficulty 3 of 5)

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


def emd(cost):
    """cost (R, M) -> a float."""
    raise NotImplementedError
