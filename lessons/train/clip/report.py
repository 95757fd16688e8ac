"""What `python -m lessons.train clip --evaluate` prints: tiny CLIP on unseen scenes, beside its shortcuts."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lessons.stickers import baselines, exams
from lessons.stickers.sheet import CLASSES, SIZES
from lessons.stickers.splits import HELD_OUT, TEST
from lessons.train import measures
from minimodels.clip import CLIP

EXPLANATION = """
Unseen seeds and background textures; shares of right answers.
  untrained    the same network before the first step
  colour only  the picture whose colours are nearest to what the words should look like (nearest mean histogram)
  told pixels  the same by an oracle that is told which pixels belong to the sticker: own colours are enough for it
"""


class Row(NamedTuple):
    """One figure: shares of right answers, None where a shortcut does not apply, and the bar it must reach, if any."""

    measure: str
    tiny_clip: float
    untrained: float
    colour_only: float | None
    told_pixels: float | None
    chance: float
    bar: float | None = None

    def text(self) -> str:
        """The row of the printed table."""
        shares = (self.tiny_clip, self.untrained, self.colour_only, self.told_pixels, self.chance)
        cells = "".join(f"{'' if share is None else f'{share:.1%}':>13}" for share in shares)
        verdict = "" if self.bar is None else f"   >= {self.bar:.0%} {'met' if self.met else 'MISSED'}"
        return f"{self.measure:42}{cells}{verdict}"

    @property
    def met(self) -> bool:
        return self.bar is None or self.tiny_clip >= self.bar


def measure(model, untrained, tokenize, count: int = 1000, rounds: int = 10) -> list[Row]:
    """Every figure of the report: `count` scenes for retrieval, each class and size `rounds` times for zero-shot."""
    return [
        *zero_shot_rows(model, untrained, tokenize, rounds),
        *retrieval_rows(model, untrained, tokenize, count),
        *two_caption_rows(model, untrained, tokenize, count),
    ]


def zero_shot_rows(model, untrained, tokenize, rounds: int) -> list[Row]:
    """One sticker, 64 classes to choose from: own colours, by size, on held-out backgrounds, recoloured."""
    rows: list[Row] = []
    named = {
        "zero-shot, own colours": (exams.singles(TEST, rounds), 0.95),
        "zero-shot, held-out class on background": (exams.singles(HELD_OUT, rounds), None),
        "zero-shot, recoloured": (exams.recoloured(TEST, max(1, rounds // 2)), None),
    }
    for name, (exam, bar) in named.items():
        right = [measures.zero_shot(one, tokenize, exam).numpy() for one in (model, untrained)]
        right += [baselines.picture_colours_class(exam), baselines.colour_only_class(exam)]
        rows.append(Row(name, *(float(r.mean()) for r in right), chance=1 / len(CLASSES), bar=bar))
        for size, pixels in enumerate(SIZES if bar else ()):
            chosen = [float(answers[exam.sizes == size].mean()) for answers in right]
            least = 0.88 if size == 0 else None
            rows.append(Row(f"  stickers of {pixels} pixels", *chosen, chance=1 / len(CLASSES), bar=least))
    return rows


def retrieval_rows(model, untrained, tokenize, count: int) -> list[Row]:
    """Find the one picture of `count` that a caption belongs to."""
    rows: list[Row] = []
    for split, name, bars in ((TEST, "text to image", (0.93, 0.99)), (HELD_OUT, "held-out combinations", (None, None))):
        exam = exams.captioned(split, count)
        ranks = [measures.retrieval_ranks(one, tokenize, exam).numpy() for one in (model, untrained)]
        ranks.append(baselines.colour_only_ranks(exam))
        for k, bar in zip((1, 5), bars):
            hits = [float((rank < k).mean()) for rank in ranks]
            rows.append(Row(f"{name}, R@{k} of {count}", *hits, None, k / count, bar))
    return rows


def two_caption_rows(model, untrained, tokenize, count: int) -> list[Row]:
    """The right caption or the same words exchanged: only an encoder that reads the order can tell."""
    rows: list[Row] = []
    for name, exam in (
        ("word order, left of / above / ...", exams.word_order(TEST, count)),
        ("which colour belongs to which", exams.binding(TEST, count)),
    ):
        right = [measures.right_caption_wins(one, tokenize, exam).numpy() for one in (model, untrained)]
        rows.append(Row(name, *(float(np.mean(r)) for r in right), None, None, 0.5))
    return rows


def report(path: Path, device: str = "cpu") -> tuple[Any, bool]:
    """Print the table; give its figures, and whether every bar is met.

    Raises:
        UserError: the weights are missing or not a CLIP of ours.
    """
    model = measures.open_weights(path, CLIP, device)
    torch.manual_seed(0)
    untrained = type(model)(**model.about["arguments"]).eval().to(device)
    print(EXPLANATION)
    names = ("tiny CLIP", "untrained", "colour only", "told pixels", "chance")
    print(" " * 42 + "".join(f"{name:>13}" for name in names) + "   bar")
    rows = measure(model, untrained, model.tokenize)
    for row in rows:
        print(row.text())
    return [row._asdict() for row in rows], all(row.met for row in rows)
