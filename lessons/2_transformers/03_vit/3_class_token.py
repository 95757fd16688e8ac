"""Class token and positions  (5 minutes, difficulty 1 of 5)

Put the learned class token before the patches of every picture, then add
the learned positions, one row a token (Dosovitskiy et al. 2021, eq. 1):

    z = [class; patch 1; ...; patch N] + pos

Like _pos_embed of timm's VisionTransformer.
"""

import torch


# %% solution
def add_class_token(patches, class_token, pos):
    """patches (B, N, D), class_token (D), pos (1 + N, D) -> tokens (B, 1 + N, D)."""
    first = class_token.expand(len(patches), 1, -1)  # (B, 1, D)
    return torch.cat([first, patches], dim=1) + pos


# %% check: tokens against a loop
from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim in [(2, 4, 3), (3, 6, 5), (2, 1, 4), (4, 5, 5)]:
        yield {"patches": random(batch, n, dim), "class_token": random(dim), "pos": random(n + 1, dim)}


def reference(patches, class_token, pos):
    pictures = []
    for picture in patches:
        rows = [class_token + pos[0]]
        for place, patch in enumerate(picture, start=1):
            rows.append(patch + pos[place])
        pictures.append(torch.stack(rows))
    return torch.stack(pictures)


def flawed(patches, class_token, pos, end=False, positions=lambda pos: pos):
    first = class_token.expand(len(patches), 1, -1)
    parts = [patches, first] if end else [first, patches]
    return torch.cat(parts, dim=1) + positions(pos)


def zero_first(pos):
    return torch.cat([torch.zeros_like(pos[:1]), pos[1:]])


MISTAKES = [
    Mistake("the tokens with the class token at the end", end=True, fix="torch.cat([first, patches], dim=1)."),
    Mistake("the tokens without positions", positions=torch.zeros_like),
    Mistake("the tokens with no position on the class token", positions=zero_first, fix="Add pos after joining."),
    Mistake("the tokens with positions off by one: patch i got the position of patch i + 1, the class token that of "
            "patch 1", positions=lambda pos: pos.roll(-1, dims=0),
            fix="Row 0 of pos belongs to the class token."),
    Mistake("the tokens with positions off by one: each patch got the position of the token before it",
            positions=lambda pos: torch.cat([pos[:1], pos[:-1]]), fix="Patch i has row i + 1."),
    Mistake("the patches with their positions, the class token forgotten",
            lambda patches, class_token, pos: patches + pos[1:]),
    Mistake("the tokens multiplied by the positions instead of added",
            lambda patches, token, pos: torch.cat([token.expand(len(patches), 1, -1), patches], dim=1) * pos),
    Mistake("the tokens with every position the same, that of the class token", positions=lambda pos: pos[:1]),
]

TASKS = [
    Task("add_class_token", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("patches", "class_token", "pos"), like="class token first, then positions"),
]


# %% hints
HINTS = [
    ("`torch.cat` complains about axes",
     "`class_token` has one axis; `class_token.expand(B, 1, -1)` has three and copies nothing."),
    ("Right for the patches, wrong for the class token", "It has a position too: row 0."),
    ("Everything is shifted by one", "The class token comes first; patch i has position i + 1."),
]
