"""2.4.5  Are they equal?  (10 minutes, difficulty 2 of 5)

Prove that two tensors agree to rounding error. Largest difference, and the
verdict |ours - theirs| <= tolerance * (1 + |theirs|) for every number, like
`torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)`. A NaN in
either of them is never equal to anything.

    {"largest": a float (NaN where a NaN is in the way), "equal": True or False}
"""

import torch


def compare_outputs(ours, theirs, tolerance):
    """Two tensors of one shape and a float -> dict with largest (float) and equal (bool)."""
    raise NotImplementedError
