"""2.6.2  Who may see whom  (15 minutes, difficulty 4 of 5)

A map of h x w tokens was rolled up and to the left by `shift` and cut into
windows of side x side (as in 2.6.1). What came around from the other end of
the picture now shares windows with tokens it never lay beside.

Give for each window a table: True where token i may look at token j, that
is, where the two lay on the same side of the seams. The tokens that came
around are the last `shift` rows and the last `shift` columns of the rolled
map. Like `attn_mask == 0` in timm's SwinTransformerBlock.
"""

import torch
from einops import rearrange


def seen_together(h, w, side, shift):
    """-> bool (windows, N, N), N = side * side tokens of a window."""
    raise NotImplementedError
