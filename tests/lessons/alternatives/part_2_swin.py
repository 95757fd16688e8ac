"""Other right answers to the exercises of lesson 2.6: loops, view and permute, index arithmetic."""

import torch
import torch.nn.functional as F

from tests.lessons.alternatives import honest


@honest("2.6.1")
def split_windows(x, side):
    b, h, w, d = x.shape
    x = x.view(b, h // side, side, w // side, side, d).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, side * side, d)


@honest("2.6.1")
def split_windows__slices(x, side):
    windows = []
    for picture in x:
        for top in range(0, x.shape[1], side):
            for left in range(0, x.shape[2], side):
                windows.append(picture[top : top + side, left : left + side].flatten(0, 1))
    return torch.stack(windows)


@honest("2.6.2")
def seen_together(h, w, side, shift):
    """The paper's nine parts, painted with slices."""
    part, number = torch.zeros(h, w), 0
    for rows in (slice(0, -side), slice(-side, -shift), slice(-shift, None)):
        for columns in (slice(0, -side), slice(-side, -shift), slice(-shift, None)):
            part[rows, columns] = number
            number += 1
    windows = torch.stack(
        [part[t : t + side, f : f + side].flatten() for t in range(0, h, side) for f in range(0, w, side)]
    )
    return windows.unsqueeze(1) - windows.unsqueeze(2) == 0


@honest("2.6.3")
def relative_position_index(side):
    rows = [
        [(ya - yb + side - 1) * (2 * side - 1) + xa - xb + side - 1 for yb in range(side) for xb in range(side)]
        for ya in range(side)
        for xa in range(side)
    ]
    return torch.tensor(rows)


@honest("2.6.4")
def merge(x, gain, bias, weight):
    if x.shape[1] % 2:
        x = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
    if x.shape[2] % 2:
        x = torch.cat([x, torch.zeros_like(x[:, :, :1])], 2)
    x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() * gain + bias
    return F.linear(x, weight)


@honest("2.6.5")
def look_around(x, attend, mask, side, shift):
    """Token numbers take the way through roll and windows; the tokens themselves are only gathered and put back."""
    (h, w), b = x.shape[1:3], len(x)
    high, wide = h + -h % side, w + -w % side
    padded = F.pad(x, (0, 0, 0, wide - w, 0, high - h)).flatten(1, 2)
    numbers = torch.arange(high * wide).view(high, wide).roll((-shift, -shift), (0, 1))
    numbers = torch.cat([row.unfold(1, side, side).transpose(0, 1).flatten(1) for row in numbers.split(side)])
    windows = attend(padded[:, numbers].flatten(0, 1), mask(high, wide))
    out = torch.empty_like(padded)
    out[:, numbers.flatten()] = windows.view(b, -1, x.shape[-1])
    return out.view(b, high, wide, -1)[:, :h, :w]
