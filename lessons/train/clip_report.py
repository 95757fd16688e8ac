"""What `python -m lessons.train.clip --evaluate` prints: tiny CLIP on unseen scenes, beside its shortcuts."""

import json
from pathlib import Path

import numpy as np
import torch

from lessons.stickers import baselines, exams
from lessons.stickers.sheet import CLASSES, SIZES
from lessons.stickers.splits import HELD_OUT, TEST
from lessons.train import measures
from minimodels import tiny

Row = tuple[
    str, float | None, float | None, float | None, float, float | None
]  # name, model, untrained, colour only, chance, bar

EXPLANATION = """
Unseen seeds and background textures. Colour only: an oracle that is told the sticker's pixels (zero-shot) or what is in
each scene (retrieval), and compares colours. Untrained: the same network before the first step.
"""


def share(values) -> float:
    """The mean of true and false, from torch or numpy."""
    return float(np.asarray(values).mean())


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
        right.append(baselines.colour_only_class(exam))
        rows.append((name, *map(share, right), 1 / len(CLASSES), bar))
        if bar:
            for size, pixels in enumerate(SIZES):
                chosen = [share(answers[exam.sizes == size]) for answers in right]
                rows.append((f"  stickers of {pixels} pixels", *chosen, 1 / len(CLASSES), 0.88 if size == 0 else None))
    return rows


def retrieval_rows(model, untrained, tokenize, count: int) -> list[Row]:
    """Find the one picture of `count` that a caption belongs to."""
    rows: list[Row] = []
    for split, name, bars in ((TEST, "text to image", (0.93, 0.99)), (HELD_OUT, "held-out combinations", (None, None))):
        exam = exams.captioned(split, count)
        ranks = [measures.retrieval_ranks(one, tokenize, exam).numpy() for one in (model, untrained)]
        ranks.append(baselines.colour_only_ranks(exam))
        for k, bar in zip((1, 5), bars):
            rows.append((f"{name}, R@{k} of {count}", *(share(r < k) for r in ranks), k / count, bar))
    return rows


def two_caption_rows(model, untrained, tokenize, count: int) -> list[Row]:
    """The right caption or the same words exchanged: only an encoder that reads the order can tell."""
    rows: list[Row] = []
    for name, exam in (
        ("word order, left of / above / ...", exams.word_order(TEST, count)),
        ("which colour belongs to which", exams.binding(TEST, count)),
    ):
        right = [share(measures.right_caption_wins(one, tokenize, exam)) for one in (model, untrained)]
        rows.append((name, *right, None, 0.5, None))
    return rows


def report(path: Path, device: str = "cpu", out: Path | None = None) -> bool:
    """Print the table (and write it as JSON); return whether every bar is met.

    Raises:
        UserError: the weights are missing or not a CLIP of ours.
    """
    model = tiny.open_file(path, device=device)
    torch.manual_seed(0)
    untrained = type(model)(**model.about["arguments"]).eval().to(device)
    rows = measure(model, untrained, model.tokenize)
    print(EXPLANATION)
    print(f"{'':42}{'tiny CLIP':>11}{'untrained':>11}{'colour only':>13}{'chance':>9}   bar")
    met = True
    for name, ours, start, colour, chance, bar in rows:
        met &= bar is None or ours >= bar
        told = "" if bar is None else f">= {bar:.0%} {'met' if ours >= bar else 'MISSED'}"
        colour_text = "" if colour is None else f"{colour:.1%}"
        print(f"{name:42}{ours:>11.1%}{start:>11.1%}{colour_text:>13}{chance:>9.1%}   {told}")
    if out:
        keys = ("measure", "tiny_clip", "untrained", "colour_only", "chance", "bar")
        out.write_text(json.dumps([dict(zip(keys, row)) for row in rows], indent=1) + "\n", encoding="utf-8")
    return met
