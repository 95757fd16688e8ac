"""2.3.1  Patchify  (10 minutes, difficulty 2 of 5)

Cut a picture into squares, row by row from the top left; each square
becomes one vector, in the order channel, row, column (all red numbers
first). Like `torch.nn.functional.unfold(image, p, stride=p)` with its last
two axes swapped; unfold itself is what you write.
"""

import torch
from einops import rearrange


def patchify(image, patch_size):
    """image (B, C, H, W), H and W multiples of patch_size p -> (B, H/p * W/p, C * p * p)."""
    raise NotImplementedError
