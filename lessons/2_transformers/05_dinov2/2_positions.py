"""Positions the official way  (10 minutes, difficulty 3 of 5)

DINOv2 without registers resizes its table of positions by a factor, not to
a size. For a picture of h x w patches and a table of side x side rows, the
factors handed to `torch.nn.functional.interpolate` are

    (h + 0.1) / side   and   (w + 0.1) / side

bicubic, align_corners False, no antialias, `scale_factor=` and not `size=`.
The 0.1 was meant against rounding. It also moves every sample a little, and
the released weights are used with it, so it stays. Row 0 of the table is the
class token's and stays as it is; the patches' rows follow, row by row.
"""

import torch
import torch.nn.functional as F
from einops import rearrange


# %% solution
def resize_positions(pos, h, w):
    """pos (1 + side * side, D), a grid of h x w patches -> (1 + h * w, D)."""
    side = round((len(pos) - 1) ** 0.5)
    picture = rearrange(pos[1:], "(h w) d -> 1 d h w", h=side)
    factors = ((h + 0.1) / side, (w + 0.1) / side)
    picture = F.interpolate(picture, scale_factor=factors, mode="bicubic", align_corners=False)
    return torch.cat([pos[:1], rearrange(picture, "1 d h w -> (h w) d")])


# %% check: the official way to resize positions against bicubic sampling written out by hand
from einops import einsum

from lessons.checker import Mistake, Task


def cases(random):
    for side, h, w, dim in [(4, 3, 6, 2), (5, 4, 2, 3), (3, 5, 4, 2), (6, 9, 4, 2)]:
        yield {"pos": random(1 + side * side, dim), "h": h, "w": w}


def cubic(distance):
    """Keys' kernel with a = -0.75."""
    d, a = abs(distance), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def sampling(count, side, like):
    """(count, side): what each new place takes from each old one; beyond the border the border counts."""
    weights = torch.zeros(count, side, dtype=like.dtype)
    for place in range(count):
        centre = (place + 0.5) * side / (count + 0.1) - 0.5
        below = int(centre // 1)
        for old in range(below - 1, below + 3):
            weights[place, min(max(old, 0), side - 1)] += cubic(centre - old)
    return weights


def reference(pos, h, w):
    side = round((len(pos) - 1) ** 0.5)
    table = rearrange(pos[1:], "(h w) d -> h w d", h=side)
    rows, columns = sampling(h, side, pos), sampling(w, side, pos)
    resized = einsum(rows, columns, table, "new_h h, new_w w, h w d -> new_h new_w d")
    return torch.cat([pos[:1], rearrange(resized, "h w d -> (h w) d")])


def flawed(pos, h, w, offset=0.1, by_size=False, mode="bicubic", turned=False, rows=None, **options):
    side = round((len(pos) - 1) ** 0.5)
    picture = rearrange(pos[1:], "(h w) d -> 1 d h w", h=side)
    picture = picture.mT if turned else picture
    how = {"size": (h, w)} if by_size else {"scale_factor": tuple((cells + offset) / side for cells in (h, w))}
    picture = F.interpolate(picture, mode=mode, **how, **options)
    first = pos[:1] if rows is None else rows(pos, picture)
    return torch.cat([first, rearrange(picture, "1 d h w -> (h w) d")])


MISTAKES = [
    Mistake("positions resized to a size: then the 0.1 is lost, as in transformers", by_size=True,
            fix="scale_factor=((h + 0.1) / side, (w + 0.1) / side)."),
    Mistake("antialiased positions, as the models with registers have them", antialias=True),
    Mistake("positions resized to a size and antialiased, as in timm", by_size=True, antialias=True),
    Mistake("positions resized bilinearly", mode="bilinear", fix="mode='bicubic'."),
    Mistake("positions with aligned corners", align_corners=True, fix="align_corners=False."),
    Mistake("positions with height and width exchanged, in the table or in the factors", turned=True,
            fix="Height first: (h w) in the table, ((h + 0.1) / side, (w + 0.1) / side) in the factors."),
    Mistake("positions taken from the nearest row, not bicubic", mode="nearest"),
    Mistake("positions whose class row became the mean of the patches' rows",
            rows=lambda pos, picture: picture.flatten(2).mean(-1), fix="Row 0 of the table stays as it is."),
]

TASKS = [
    Task("resize_positions", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("pos",),
         like="the official resize"),
]


# %% hints
HINTS = [
    ("F.interpolate wants another shape", "A picture has four axes: `rearrange(table, '(h w) d -> 1 d h w', h=side)`."),
    ("The shape is right, all patches are a little off", "Hand on the factors: `scale_factor=(fh, fw)`, not `size=`."),
    ("Right for 3 x 3, wrong for 4 x 2", "The first factor belongs to the rows, h; the second to the columns, w."),
]
