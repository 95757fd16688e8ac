"""What `python -m lessons.train vit --evaluate` prints: tiny ViT on unseen stickers, beside its shortcuts."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lessons.stickers import baselines, exams
from lessons.stickers.sheet import CLASSES, SIZES
from lessons.stickers.splits import HELD_OUT, TEST
from lessons.train import measures
from minimodels.vit import ViT

COLUMNS = ("tiny ViT", "colour only", "told pixels", "untrained")


@torch.no_grad()
def right_answers(model: ViT, exam: exams.Singles) -> Tensor:
    """For each picture whether the largest logit is its class: (N,) bool."""
    device = next(model.parameters()).device
    logits = torch.cat([model(part.to(device)) for part in measures.normalized(exam.images).split(128)])  # (N, 64)
    return logits.argmax(dim=1).cpu() == torch.from_numpy(exam.kinds)


def measure(model: ViT, untrained: ViT, rounds: int) -> list[dict[str, Any]]:
    """Shares of right answers: all sizes, by size, on backgrounds held out for a class, in colours not their own."""
    rows = []
    for name, exam in (
        ("own colours", exams.singles(TEST, rounds)),
        ("held-out class on background", exams.singles(HELD_OUT, rounds)),
        ("recoloured", exams.recoloured(TEST, max(1, rounds // 2))),
    ):
        answers = [
            right_answers(model, exam).numpy(),
            baselines.picture_colours_class(exam),
            baselines.colour_only_class(exam),
            right_answers(untrained, exam).numpy(),
        ]
        parts = {name: exam.sizes >= 0}
        if name == "own colours":
            parts |= {f"  stickers of {pixels} pixels": exam.sizes == n for n, pixels in enumerate(SIZES)}
        for part, chosen in parts.items():
            shares = (float(right[chosen].mean()) for right in answers)
            rows.append({"measure": part, "pictures": int(chosen.sum()), **dict(zip(COLUMNS, shares))})
    return rows


def report(path: Path, device: str = "cpu", rounds: int = 10) -> tuple[list[dict[str, Any]], bool]:
    """Print the table; give its figures, and whether every bar is met (there is none).

    Raises:
        UserError: the weights are missing or not a ViT of ours.
    """
    model = measures.open_weights(path, ViT, device)
    torch.manual_seed(0)
    untrained = ViT(**model.about["arguments"]).eval().to(device)
    rows = measure(model, untrained, rounds)
    print(f"Pictures of one sticker, unseen seeds and textures; chance {1 / len(CLASSES):.1%}")
    print(f"{'':30}{'pictures':>10}" + "".join(f"{name:>14}" for name in COLUMNS))
    for row in rows:
        print(f"{row['measure']:30}{row['pictures']:>10,}" + "".join(f"{row[name]:14.1%}" for name in COLUMNS))
    return [{name.lower().replace(" ", "_"): value for name, value in row.items()} for row in rows], True
