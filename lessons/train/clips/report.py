"""What `python -m lessons.train clips --evaluate` prints: tiny CLIPS on unseen scenes, beside other runs.

With `--against FOLDER ...` further runs are measured on the same exams, CLIPS of other seeds and the CLIPs of
`python -m lessons.train clip --captions web`: the table then has the mean of each kind and its spread over the seeds.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lessons.stickers import baselines, exams
from lessons.stickers.splits import HELD_OUT, TEST
from lessons.train import measures
from minimodels.clip import DualEncoder
from minimodels.clips import CLIPS
from minimodels.stored import embedded

OPTIONS = {
    "against": {
        "type": Path, "nargs": "+", "default": [], "metavar": "WEIGHTS",
        "help": "with --evaluate: files or folders of further runs, CLIPS of other seeds or CLIPs, measured alike",
    }
}  # fmt: skip
EXPLANATION = """
Unseen seeds and background textures; shares of right answers. Where several runs are measured: their mean, and from
the lowest to the highest.
  untrained    the same network before the first step
  colour only  the picture, or the class, whose colours are nearest to what the words should look like
"""


class Exam(NamedTuple):
    """A question with known answers: `right` gives for a model which it answers right, (N,) bool."""

    measure: str
    right: Callable[[Any], torch.Tensor]
    colour_only: float | None
    chance: float
    bar: float | None = None


class Row(NamedTuple):
    """One figure: shares of right answers of every CLIPS (the first is the one asked for) and of every CLIP."""

    measure: str
    cases: int
    clips: list[float]
    clip: list[float]
    untrained: float
    colour_only: float | None
    chance: float
    bar: float | None = None

    def text(self) -> str:
        """The row of the printed table."""
        kinds = "".join(f"{spread(shares):>26}" for shares in (self.clips, self.clip))
        others = "".join(f"{'' if share is None else f'{share:.1%}':>13}" for share in self[4:7])
        verdict = "" if self.bar is None else f"   >= {self.bar:.0%} {'met' if self.met else 'MISSED'}"
        return f"{self.measure:38}{kinds}{others}{verdict}"

    @property
    def met(self) -> bool:
        """Whether every run reaches the bar, if there is one."""
        return self.bar is None or min([*self.clips, *self.clip]) >= self.bar


def spread(shares: list[float]) -> str:
    """ "74.0%", or of several runs "74.0% (71.2-76.9)"."""
    if not shares:
        return ""
    ends = f" ({100 * min(shares):.1f}-{100 * max(shares):.1f})" if len(shares) > 1 else ""
    return f"{statistics.mean(shares):.1%}{ends}"


def zero_shot_exams(rounds: int) -> list[Exam]:
    """One sticker, 64 classes to choose from."""
    named = {
        "zero-shot, own colours": exams.singles(TEST, rounds),
        "zero-shot, held-out class on background": exams.singles(HELD_OUT, rounds),
        "zero-shot, recoloured": exams.recoloured(TEST, max(1, rounds // 2)),
    }

    def asks(exam: exams.Singles) -> Callable[[Any], torch.Tensor]:
        return lambda model: measures.zero_shot(model, model.tokenize, exam)

    return [
        Exam(name, asks(exam), float(np.mean(baselines.picture_colours_class(exam))), 1 / 64)
        for name, exam in named.items()
    ]


def caption_exams(count: int) -> list[Exam]:
    """One picture of `count` for a caption; the right caption of two with the same words."""
    test, held_out = exams.captioned(TEST, count), exams.captioned(HELD_OUT, count)

    def finds(exam: exams.Pairs) -> Callable[[Any], torch.Tensor]:
        return lambda model: measures.retrieval_ranks(model, model.tokenize, exam) < 1

    def chooses(exam: exams.Pairs) -> Callable[[Any], torch.Tensor]:
        return lambda model: measures.right_caption_wins(model, model.tokenize, exam)

    by_colour = [float((baselines.colour_only_ranks(exam) < 1).mean()) for exam in (test, held_out)]
    return [
        Exam(f"text to image, R@1 of {count}", finds(test), by_colour[0], 1 / count, bar=0.93),
        Exam(f"held-out combinations, R@1 of {count}", finds(held_out), by_colour[1], 1 / count),
        Exam("which colour belongs to which", chooses(exams.binding(TEST, count)), None, 0.5),
        Exam("word order, left of / above / ...", chooses(exams.word_order(TEST, count)), None, 0.5),
    ]


def measure(models: list[DualEncoder], untrained: DualEncoder, count: int = 1000, rounds: int = 10) -> list[Row]:
    """Every figure: `count` scenes for captions, each class and size `rounds` times for zero-shot."""
    rows = []
    for exam in [*zero_shot_exams(rounds), *caption_exams(count)]:
        answers = [exam.right(model).float() for model in (*models, untrained)]
        shares = [answer.mean().item() for answer in answers]
        of = {kind: [s for s, m in zip(shares, models) if isinstance(m, CLIPS) == kind] for kind in (True, False)}
        told = (shares[-1], exam.colour_only, exam.chance, exam.bar)
        rows.append(Row(exam.measure, len(answers[0]), of[True], of[False], *told))
    return rows


def told_of(file: Path, model: DualEncoder) -> dict[str, Any]:
    """What the log beside a run's weights says: seed, pictures, and the minutes that its process computed."""
    about = json.loads(log.read_text("utf-8")) if (log := file.with_name(embedded.LOG)).is_file() else {}
    last = about.get("log", [{}])[-1]
    minutes = round(last.get("cpu_seconds", 0) / 60, 1)
    return {"class": type(model).__name__, "seed": about.get("seed"), "images": last.get("images"), "minutes": minutes}


def report(path: Path, device: str = "cpu", against: list[Path] = OPTIONS["against"]["default"]) -> tuple[Any, bool]:
    """Print the table; give its figures ("runs" and "rows"), and whether every bar is met.

    Raises:
        UserError: weights are missing, or not a CLIPS of ours (`against`: or a CLIP).
    """
    files = [other / embedded.FILE if other.is_dir() else other for other in against]
    models = [measures.open_weights(path, CLIPS, device)]
    models += [measures.open_weights(file, DualEncoder, device) for file in files]
    torch.manual_seed(0)
    untrained = CLIPS(**models[0].about["arguments"]).eval().to(device)
    untrained.preprocess, untrained.tokenize = models[0].preprocess, models[0].tokenize
    print(EXPLANATION)
    kinds = [isinstance(model, CLIPS) for model in models]
    names = (f"{sum(kinds)} x tiny CLIPS", f"{len(kinds) - sum(kinds)} x tiny CLIP")
    print(" " * 38 + "".join(f"{name:>26}" for name in names) + f"{'untrained':>13}{'colour only':>13}{'chance':>13}")
    rows = measure(models, untrained)
    for row in rows:
        print(row.text())
    runs = [told_of(file, model) for file, model in zip((path, *files), models)]
    for run in runs:
        print(", ".join(f"{name} {value}" for name, value in run.items()))
    return {"runs": runs, "rows": [row._asdict() for row in rows]}, all(row.met for row in rows)
