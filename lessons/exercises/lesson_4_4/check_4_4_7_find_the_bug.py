"""The check of 4.4.7: a stage's two outputs, its parts run one after the other."""

import torch
from torch import nn

from lessons.checker import Mistake, Task

HINTS = [
    ("Where to look", "Which of V, F and E does `norm` see?"),
    ("Which output is wrong", "`next` is right. The message above says which one is not."),
    ("The line", "By the last line, x is E. The decoder wants F: norm(fused)."),
]


def stage(x, blocks, fuse, gate, norm, merge):
    for block in blocks:
        x = block(x)
    fused = fuse(x)
    x = x + gate(fused) * fused
    return {"decoder": norm(fused), "next": merge(x)}


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


TASKS = [
    Task(
        "stage",
        cases,
        reference=reference,
        like="blocks, fuse, then two ways out",
        mistakes=[
            Mistake(
                "the stage of the file as you were given it, whose decoder reads E: the bug is still in it",
                flawed,
                decoder="gated",
            ),
            Mistake("the stage whose decoder reads V, without any words", flawed, decoder="visual"),
            Mistake("the stage whose decoder reads gate(F) * F", flawed, decoder="only", fix="F itself."),
            Mistake("the stage whose decoder reads F without its norm", flawed, normed=False),
            Mistake("the stage whose next stage reads V: that line was right", flawed, on="visual"),
            Mistake("the stage whose next stage reads V + F, not gated: that line was right", flawed, on="sum"),
            Mistake("the stage whose next stage reads F: that line was right", flawed, on="fused"),
        ],
    )
]
