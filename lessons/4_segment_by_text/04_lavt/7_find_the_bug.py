"""Find the bug: two ways out of a stage  (10 minutes, difficulty 3 of 5)

A stage of LAVT has two outputs: one for the decoder, one for the next
stage. Somebody's port learns well from scratch; with the official weights
its masks are poor. One line is wrong, every shape is right. Remember what
the released weights want: the decoder reads F, with a norm of its own; the
next stage reads E = V + gate(F) * F, merged.
"""

import torch


# %% given: with its bug
def stage(x, blocks, fuse, gate, norm, merge):
    """x (B, N, C); blocks a list; fuse, gate, norm (B, N, C) -> (B, N, C); merge (B, N, C) -> (B, N / 4, 2 C)
    -> {"decoder": (B, N, C), "next": (B, N / 4, 2 C)}."""
    for block in blocks:
        x = block(x)
    fused = fuse(x)
    x = x + gate(fused) * fused
    return {"decoder": norm(x), "next": merge(x)}


# %% solution
def stage(x, blocks, fuse, gate, norm, merge):
    for block in blocks:
        x = block(x)
    fused = fuse(x)
    x = x + gate(fused) * fused
    return {"decoder": norm(fused), "next": merge(x)}


# %% check: a stage's two outputs, its parts run one after the other
from torch import nn

from lessons.checker import Mistake, Task


class Merge(nn.Module):
    """Four positions side by side, then narrower."""

    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Linear(4 * channels, 2 * channels)

    def forward(self, x):
        return self.linear(x.unflatten(1, (-1, 4)).flatten(2))


def cases(random):
    for batch, n, channels, depth in [(2, 8, 4, 2), (3, 4, 6, 1)]:
        parts = {
            "blocks": [nn.Sequential(nn.Linear(channels, channels), nn.Tanh()) for _ in range(depth)],
            "fuse": nn.Sequential(nn.Linear(channels, channels), nn.GELU()),
            "gate": nn.Sequential(nn.Linear(channels, channels, bias=False), nn.Tanh()),
            "norm": nn.LayerNorm(channels),
            "merge": Merge(channels),
        }
        modules = [*parts["blocks"], *(parts[name] for name in ("fuse", "gate", "norm", "merge"))]
        for parameter in nn.ModuleList(modules).double().parameters():
            parameter.data = random(*parameter.shape)
            parameter.requires_grad_(False)
        yield {"x": random(batch, n, channels), **parts}


def reference(x, blocks, fuse, gate, norm, merge):
    visual = nn.Sequential(*blocks)(x)
    fused = fuse(visual)
    return {"decoder": norm(fused), "next": merge(torch.addcmul(visual, gate(fused), fused))}


def flawed(x, blocks, fuse, gate, norm, merge, decoder="fused", on="gated", normed=True):
    for block in blocks:
        x = block(x)
    fused = fuse(x)
    maps = {
        "visual": x,
        "fused": fused,
        "gated": x + gate(fused) * fused,
        "only": gate(fused) * fused,
        "sum": x + fused,
    }
    to_decoder = maps[decoder]
    return {"decoder": norm(to_decoder) if normed else to_decoder, "next": merge(maps[on])}


MISTAKES = [
    Mistake("the stage of the file as you were given it, whose decoder reads E: the bug is still in it",
            decoder="gated"),
    Mistake("the stage whose decoder reads V, without any words", decoder="visual"),
    Mistake("the stage whose decoder reads gate(F) * F", decoder="only", fix="F itself."),
    Mistake("the stage whose decoder reads F without its norm", normed=False),
    Mistake("the stage whose next stage reads V: that line was right", on="visual"),
    Mistake("the stage whose next stage reads V + F, not gated: that line was right", on="sum"),
    Mistake("the stage whose next stage reads F: that line was right", on="fused"),
]

TASKS = [
    Task("stage", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, like="blocks, fuse, then two ways out"),
]


# %% hints
HINTS = [
    ("Where to look", "Which of V, F and E does `norm` see?"),
    ("Which output is wrong", "`next` is right. The message above says which one is not."),
    ("The line", "By the last line, x is E. The decoder wants F: norm(fused)."),
]
