"""Positions for another picture size  (15 minutes, difficulty 3 of 5)

A table of positions was learned for a grid of h x w patches. For another
grid, treat its rows as the pixels of an h x w picture with D channels and
resize that picture bicubically, with `align_corners=False` and without
antialiasing, as transformers does. The class token's row (row 0) stays as
it is.

`torch.nn.functional.interpolate(..., mode="bicubic")` does the resizing; the
work is to bring the table into its shape and back.
"""

import torch
import torch.nn.functional as F
from einops import rearrange


# %% solution
def resize_positions(pos, grid, new_grid):
    """pos (1 + h*w, D), grid (h, w), new_grid (h2, w2) -> (1 + h2*w2, D)."""
    picture = rearrange(pos[1:], "(h w) d -> 1 d h w", h=grid[0], w=grid[1])
    picture = F.interpolate(picture, size=new_grid, mode="bicubic", align_corners=False, antialias=False)
    return torch.cat([pos[:1], rearrange(picture, "1 d h w -> (h w) d")])


# %% check: resized positions against interpolate on one channel at a time
from lessons.checker import Mistake, Task


def cases(random):
    for dim, grid, new_grid in [(3, (4, 6), (2, 3)), (4, (2, 3), (5, 4)), (2, (3, 3), (3, 5)), (5, (6, 4), (4, 5))]:
        yield {"pos": random(1 + grid[0] * grid[1], dim), "grid": grid, "new_grid": new_grid}


def reference(pos, grid, new_grid):
    channels = []
    for channel in pos[1:].unbind(dim=-1):
        picture = torch.stack(channel.split(grid[1]))[None, None]  # (1, 1, h, w)
        channels.append(F.interpolate(picture, size=new_grid, mode="bicubic", align_corners=False).flatten())
    return torch.cat([pos[:1], torch.stack(channels, dim=-1)])


def flawed(
    pos, grid, new_grid, mode="bicubic", corners=False, antialias=False, token="first", turned=False, new_turned=False
):
    h, w = (grid[1], grid[0]) if turned else grid
    size = (new_grid[1], new_grid[0]) if new_turned else new_grid
    picture = rearrange(pos[1:], "(h w) d -> 1 d h w", h=h, w=w)
    settings = {} if mode.startswith("nearest") else {"align_corners": corners, "antialias": antialias}
    rows = rearrange(F.interpolate(picture, size=size, mode=mode, **settings), "1 d h w -> (h w) d")
    return {"first": torch.cat([pos[:1], rows]), "last": torch.cat([rows, pos[:1]]), "none": rows}[token]


def whole_table(pos, grid, new_grid):
    count = new_grid[0] * new_grid[1] + 1
    return F.interpolate(pos.T[None], size=count, mode="linear", align_corners=False)[0].T


MISTAKES = [
    Mistake("the reference with antialias=True, as timm does it", antialias=True, fix="Leave antialias off here."),
    Mistake("the reference with align_corners=True", corners=True, fix="Pass align_corners=False."),
    Mistake("bilinear instead of bicubic resizing", mode="bilinear", fix="Pass mode='bicubic'."),
    Mistake("the nearest old position instead of bicubic resizing", mode="nearest", fix="Pass mode='bicubic'."),
    Mistake("the reference with h and w of the old grid swapped", turned=True, fix="The grid is (h, w)."),
    Mistake("the reference with h and w of the new grid swapped", new_turned=True, fix="The grid is (h, w)."),
    Mistake("the reference without the class token's row", token="none", fix="Put pos[:1] back in front."),
    Mistake("the reference with the class token's row at the end", token="last", fix="It comes first."),
    Mistake("the table stretched as one long list, class token and all", whole_table,
            fix="Make a picture of h x w first; neighbours above and below matter too."),
]

TASKS = [
    Task("resize_positions", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("pos",),
         like="torch.nn.functional.interpolate, channel by channel"),
]


# %% hints
HINTS = [
    ("interpolate wants four axes",
     "(batch, channels, height, width): `rearrange(pos[1:], '(h w) d -> 1 d h w', h=grid[0], w=grid[1])`."),
    ("Right when the grid grows, wrong when it shrinks", "That is antialias; transformers leaves it off."),
    ("Off in the second decimal", "`mode='bicubic'` and `align_corners=False`; the default mode is 'nearest'."),
]
