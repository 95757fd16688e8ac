"""The check of 2.3.3: tokens against a loop."""

import torch

from lessons.checker import Mistake, Task

HINTS = [
    (
        "`torch.cat` complains about axes",
        "`class_token` has one axis; `class_token.expand(B, 1, -1)` has three and copies nothing.",
    ),
    ("Right for the patches, wrong for the class token", "It has a position too: row 0."),
    ("Everything is shifted by one", "The class token comes first; patch i has position i + 1."),
]


def add_class_token(patches, class_token, pos):
    first = class_token.expand(len(patches), 1, -1)  # (B, 1, D)
    return torch.cat([first, patches], dim=1) + pos


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


TASKS = [
    Task(
        "add_class_token",
        cases,
        reference=reference,
        like="class token first, then positions",
        gradients=("patches", "class_token", "pos"),
        mistakes=[
            Mistake(
                "the tokens with the class token at the end",
                flawed,
                end=True,
                fix="torch.cat([first, patches], dim=1).",
            ),
            Mistake("the tokens without positions", flawed, positions=torch.zeros_like),
            Mistake(
                "the tokens with no position on the class token",
                flawed,
                positions=zero_first,
                fix="Add pos after joining.",
            ),
            Mistake(
                "the tokens with positions off by one: patch i got the position of patch i + 1, the class token that "
                "of patch 1",
                flawed,
                positions=lambda pos: pos.roll(-1, dims=0),
                fix="Row 0 of pos belongs to the class token.",
            ),
            Mistake(
                "the tokens with positions off by one: each patch got the position of the token before it",
                flawed,
                positions=lambda pos: torch.cat([pos[:1], pos[:-1]]),
                fix="Patch i has row i + 1.",
            ),
            Mistake(
                "the patches with their positions, the class token forgotten",
                lambda patches, class_token, pos: patches + pos[1:],
            ),
            Mistake(
                "the tokens multiplied by the positions instead of added",
                lambda patches, token, pos: torch.cat([token.expand(len(patches), 1, -1), patches], dim=1) * pos,
            ),
            Mistake(
                "the tokens with every position the same, that of the class token",
                flawed,
                positions=lambda pos: pos[:1],
            ),
        ],
    )
]
