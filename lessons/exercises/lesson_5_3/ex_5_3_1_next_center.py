"""5.3.1  k-means++: where the next centre may be  (10 minutes, difficulty 2 of 5)

k-means goes wrong when two first centres lie in one cluster. k-means++ draws
each further centre among the points, and a point's chance grows with the
square of its distance to the nearest centre chosen so far. Give the chances;
they sum to 1. (Matcher adds 1e-6 to the distances, so that not all of them
are 0; leave that out here.)
"""

import torch


def center_chances(points, centers):
    """points (K, 2), centers (C, 2) chosen so far -> (K) the chance of each point to be the next one."""
    raise NotImplementedError
