"""2.6.5  Find the bug: shifted windows  (15 minutes, difficulty 4 of 5)

The windowed attention of one shifted block, for maps of any size, as in
`SwinBlock.look_around`. `attend(windows, seen)` is the attention itself and
`mask(h, w)` the table of 2.6.2 for a map of h x w tokens; both are right.
This function passes every test on maps that are whole windows, and is wrong
on all others: one line stands in the wrong place. Put it where it belongs.
"""

import torch
import torch.nn.functional as F
from einops import rearrange


def look_around(x, attend, mask, side, shift):
    """x (B, h, w, D), any h and w; attend: (B*W, N, D) and bool (W, N, N) -> (B*W, N, D). Gives (B, h, w, D)."""
    h, w = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    padded_h, padded_w = x.shape[1:3]
    x = torch.roll(x, (-shift, -shift), dims=(1, 2))
    windows = rearrange(x, "b (row y) (col x) d -> (b row col) (y x) d", y=side, x=side)
    windows = attend(windows, mask(padded_h, padded_w))
    sizes = {"row": padded_h // side, "col": padded_w // side, "y": side}
    x = rearrange(windows, "(b row col) (y x) d -> b (row y) (col x) d", **sizes)
    x = x[:, :h, :w]
    return torch.roll(x, (shift, shift), dims=(1, 2))
