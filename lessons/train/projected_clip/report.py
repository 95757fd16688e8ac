"""What `python -m lessons.train projected_clip --evaluate` prints: the two ready encoders on unseen scenes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lessons.stickers import baselines, exams
from lessons.stickers.sheet import CLASSES
from lessons.stickers.splits import HELD_OUT, TEST
from lessons.train import loop, measures
from lessons.train.projected_clip import descriptions
from lessons.train.projected_clip.trainer import Trainer
from minimodels.projected_clip import ProjectedCLIP
from minimodels.stored import models

EXPLANATION = """
Unseen seeds and background textures; shares of right answers, and the 95 % interval of the first.
  tiny CLIP    trained an hour with CLIP's own loss, its image encoder from scratch
  untrained    the same network before the first step, its image encoder ready
  colour only  the picture, or the description, whose colours are nearest (an oracle: it is told what each scene holds)
"""
COLUMNS = ("tiny projected CLIP", "tiny CLIP", "untrained", "colour only", "chance")


class Row(NamedTuple):
    """One figure: shares of right answers among so many, None where a shortcut does not apply, and its bar, if any."""

    measure: str
    count: int
    tiny_projected_clip: float
    tiny_clip: float
    untrained: float
    colour_only: float | None
    chance: float
    bar: float | None = None

    def text(self) -> str:
        """The row of the printed table."""
        cells = "".join(f"{'' if share is None else f'{share:.1%}':>21}" for share in self[2:7])
        verdict = "" if self.bar is None else f"   >= {self.bar:.0%} {'met' if self.met else 'MISSED'}"
        return f"{self.measure:46}{cells}   {interval(self.tiny_projected_clip, self.count):15}{verdict}"

    @property
    def met(self) -> bool:
        return self.bar is None or self.tiny_projected_clip >= self.bar


def interval(share: float, count: int) -> str:
    """The 95 % interval of a share among so many answers (Wilson 1927), as "97.1-98.9%"."""
    z = 1.96
    middle, room = share + z * z / (2 * count), z * (share * (1 - share) / count + (z / (2 * count)) ** 2) ** 0.5
    low, high = ((middle + side * room) / (1 + z * z / count) for side in (-1, 1))
    return f"{100 * low:.1f}-{100 * high:.1f}%"


@torch.no_grad()
def right_of_four(model: Any, exam: descriptions.Fours) -> Tensor:
    """Whether the right description is the nearest of the four: (N,) bool."""
    image = measures.embed_images(model, exam.images)  # (N, E)
    told = [measures.embed_texts(model, model.tokenize, list(texts)) for texts in zip(*exam.descriptions)]  # 4 x (N, E)
    right, *wrong = ((image * text).sum(dim=1) for text in told)
    return (right > torch.stack(wrong).amax(dim=0)).cpu()


def measure(contenders: list[Any], count: int = 1000, rounds: int = 10) -> list[Row]:
    """Every figure for the trained model, tiny CLIP and the untrained one."""
    rows = []
    for split, name, bar in ((TEST, "text to image", 0.80), (HELD_OUT, "the same, held-out combinations", None)):
        exam = exams.captioned(split, count)
        ranks = [measures.retrieval_ranks(model, model.tokenize, exam).numpy() for model in contenders]
        ranks.append(baselines.colour_only_ranks(exam))
        rows += [
            row(f"{name}, R@{k} of {count}", count, [rank < k for rank in ranks], k / count, bar if k == 1 else None)
            for k in (1, 5)
        ]
    for name, make, bar in (
        ("one of four descriptions", descriptions.other_scenes, 0.97),
        ("one of four that differ in one word", descriptions.one_word_differs, None),
    ):
        exam = make(TEST, count)
        right = [right_of_four(model, exam).numpy() for model in contenders]
        rows.append(row(name, count, [*right, descriptions.colour_only(exam)], 1 / 4, bar))
    for name, exam in (
        ("zero-shot, own colours", exams.singles(TEST, rounds)),
        ("zero-shot, recoloured", exams.recoloured(TEST, max(1, rounds // 2))),
    ):
        right = [measures.zero_shot(model, model.tokenize, exam).numpy() for model in contenders]
        right.append(baselines.picture_colours_class(exam))
        rows.append(row(name, len(exam.images), right, 1 / len(CLASSES)))
    return rows


def row(name: str, count: int, right: list[np.ndarray], chance: float, bar: float | None = None) -> Row:
    """The shares of right answers."""
    return Row(name, count, *(float(answers.mean()) for answers in right), chance, bar)


def beginning(tokenize: Any, device: str) -> ProjectedCLIP:
    """What the training began with."""
    model = Trainer(loop.Settings(steps=1, batch=1, device=device)).model.eval()
    model.tokenize = tokenize
    return model


def report(path: Path, device: str = "cpu") -> tuple[Any, bool]:
    """Print the table; give its figures, and whether every bar is met.

    Raises:
        UserError: the weights are missing or not a CLIP of two encoders.
    """
    model = measures.open_weights(path, ProjectedCLIP, device)
    print(EXPLANATION)
    print(" " * 46 + "".join(f"{name:>21}" for name in COLUMNS) + "   95 %              bar")
    rows = measure([model, models.load("tiny-clip", device), beginning(model.tokenize, device)])
    for one in rows:
        print(one.text())
    return [one._asdict() for one in rows], all(one.met for one in rows)
