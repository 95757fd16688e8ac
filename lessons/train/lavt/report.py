"""What `python -m lessons.train lavt --evaluate` prints: tiny LAVT on unseen scenes, beside tiny CLIPSeg, the same
model without its words, and shortcuts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lessons.stickers import baselines, refer
from lessons.stickers.scenes import draw
from lessons.stickers.splits import HELD_OUT, TEST, Split
from lessons.train import measures
from minimodels.lavt import LAVT
from minimodels.metrics import masks
from minimodels.stored import models

CHOICES = ("attribute", "place", "extreme", "relation")
Found = Bool[Tensor, "scenes height width"]


class Exam(NamedTuple):
    """Scenes (N, 64, 64, 3) uint8, whose pixel is whose (N, 64, 64), and one expression for each."""

    images: np.ndarray
    owners: np.ndarray
    asked: list[refer.Expression]

    @property
    def masks(self) -> Found:
        """The pixels that are meant."""
        targets = np.array([one.target if one.target >= 0 else 254 for one in self.asked])
        return torch.from_numpy(self.owners == targets[:, None, None] + 1)

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.asked]

    @property
    def nouns(self) -> list[str]:
        """What is left of each sentence for one who reads the noun only."""
        return [f"the {one.noun}" for one in self.asked]


def make_exam(kind: str, split: Split, count: int, hard: bool | None = None) -> Exam:
    """`count` expressions of one kind; `hard` None: every second scene is hard."""
    asked = [refer.expression(n, split, kind, n % 2 == 1 if hard is None else hard) for n in range(count)]
    drawn = [draw(one.scene) for one in asked]
    return Exam(np.stack([picture for picture, _ in drawn]), np.stack([owner for _, owner in drawn]), asked)


def lay_further_out(exam: Exam) -> Exam:
    """Those of which the sticker that is meant is not the one of its class furthest in the direction that is named."""
    some = [n for n, one in enumerate(exam.asked) if baselines.forget_the_anchor(one) == 0]
    return Exam(exam.images[some], exam.owners[some], [exam.asked[n] for n in some])


@torch.no_grad()
def predict(model, images: np.ndarray, texts: list[str], piece: int = 64) -> Float[Tensor, "scenes height width"]:
    """How much surer LAVT is of the referent than of the background, in logits: above 0 is the mask."""
    device, parts = next(model.parameters()).device, []
    for n in range(0, len(images), piece):
        ids, real = (part.to(device) for part in model.tokenize(texts[n : n + piece]))
        logits = model(measures.normalized(images[n : n + piece]).to(device), ids, real).float().cpu()  # (B, 2, H, W)
        parts.append(logits[:, 1] - logits[:, 0])
    return torch.cat(parts)


@torch.no_grad()
def clipseg_masks(model, images: np.ndarray, texts: list[str], piece: int = 64) -> Found:
    """The masks of tiny CLIPSeg, which reads a sentence as one vector."""
    parts = []
    for n in range(0, len(images), piece):
        prompt = model.encode_text(model.tokenize(texts[n : n + piece]))
        parts.append(model(measures.normalized(images[n : n + piece]), prompt[:, None])[:, 0] > 0)
    return torch.cat(parts)


# ---------------------------------------------------------------- measures


def ious(found: Found, exam: Exam) -> Float[Tensor, "scenes"]:
    """Intersection over union of each scene; an empty union counts as 0, as in the released code."""
    both, either = (found & exam.masks).sum((1, 2)), (found | exam.masks).sum((1, 2))
    return both / either.clamp(min=1)


def chosen(found: Found, exam: Exam, ties: bool = False) -> float:
    """How often the sticker that is meant has a larger share of its pixels painted than any other of its class.

    Shares, not pixels: else who paints everything would always choose the biggest. With `ties`, one who paints several
    alike is credited as if he drew among them; without, that is wrong.
    """
    points = []
    for mask, owner, one in zip(found.numpy(), exam.owners, exam.asked):
        rivals = [n for n, s in enumerate(one.scene.stickers) if s.name == one.noun]
        shares = {n: mask[owner == n + 1].mean() if (owner == n + 1).any() else 0.0 for n in rivals}
        alike = [share for share in shares.values() if share == shares[one.target]]
        best = 0 < shares[one.target] == max(shares.values())
        points.append(best / len(alike) if ties else float(best and len(alike) == 1))
    return float(np.mean(points))


def left_empty(found: Found) -> float:
    """The share of scenes in which nothing is painted."""
    return (~found.flatten(1).any(dim=1)).float().mean().item()


def brief(model, split: Split, count: int) -> dict[str, float]:
    """A few figures for the log."""
    values = {}
    for name, kind, hard in [("class", "class", False), ("hard", "class", True), *((k, k, None) for k in CHOICES)]:
        exam = make_exam(kind, split, count, hard)
        found = predict(model, exam.images, exam.texts) > 0
        values[f"{name}_iou"] = ious(found, exam).mean().item()
        if kind in CHOICES:
            values[kind] = chosen(found, exam)
    exam = make_exam("absent", split, count)
    values["left_empty"] = left_empty(predict(model, exam.images, exam.texts) > 0)
    return values


# ---------------------------------------------------------------- the report

EXPLANATION = """
Unseen seeds and background textures; half of the scenes hard unless it says otherwise. IoU: mean over scenes of
intersection over union with the pixels that are meant. Right one: of the stickers of the class that is named, the one
that is meant has the largest share of its pixels painted (a tie counts as wrong; in the columns of others as a draw).
Only the noun: the same model, told "the dog" and no more. Colour only: an oracle that is told the pixels of each
sticker and takes the one whose colours are nearest. Draw: one who reads the noun only and draws among those. No
anchor: one who takes "the dog left of the tree" for the dog furthest left; where no relation is named, as draw.
"""
COLUMNS = ("tiny LAVT", "untrained", "only the noun", "tiny CLIPSeg", "colour only", "draw", "no anchor")
BARS = {"place": 0.90, "extreme": 0.80, "relation": 0.75}


class Row(NamedTuple):
    """A measure, the values of COLUMNS (None: has none), and the least that the first must be (None: no bar)."""

    name: str
    values: tuple[float | None, ...]
    bar: float | None = None

    @property
    def met(self) -> bool:
        return self.bar is None or (self.values[0] or 0.0) >= self.bar


Painter = Callable[[np.ndarray, list[str]], Found]


class Painters(NamedTuple):
    """Who is asked: pictures and texts to masks."""

    ours: Painter
    untrained: Painter
    clipseg: Painter

    def masks(self, exam: Exam) -> list[Found]:
        """Masks of the first four columns."""
        return [
            self.ours(exam.images, exam.texts),
            self.untrained(exam.images, exam.texts),
            self.ours(exam.images, exam.nouns),
            self.clipseg(exam.images, exam.texts),
        ]


def kind_rows(painters: Painters, name: str, exam: Exam, bar_iou: float | None, bar: float | None) -> list[Row]:
    """IoU, and where there are several of a class the right choice."""
    masks = painters.masks(exam)
    colour = float(np.mean([baselines.colour_only_choice(one) for one in exam.asked]))
    oracles = (colour, *blind(exam.asked))
    rows = [Row(f"{name}, IoU", (*(ious(one, exam).mean().item() for one in masks), *oracles), bar_iou)]
    if exam.asked[0].kind in CHOICES:
        values = (chosen(one, exam, ties=number > 0) for number, one in enumerate(masks))
        rows.append(Row(f"{name}, right one", (*values, *oracles), bar))
    return rows


def blind(asked: list[refer.Expression]) -> tuple[float, float]:
    """The last two columns."""
    draw, no_anchor = baselines.ignore_the_relation, baselines.forget_the_anchor
    return float(np.mean([draw(one) for one in asked])), float(np.mean([no_anchor(one) for one in asked]))


def absent_rows(painters: Painters, exam: Exam) -> list[Row]:
    """The share of scenes left empty: all, and by what makes the referent absent."""
    masks = painters.masks(exam)
    plain = np.array([one.text == f"the {one.noun}" for one in exam.asked])
    related = np.array([len(one.text.split()) > 3 for one in exam.asked])
    rows = []
    for name, some, bar in (
        ("absent, left empty", np.ones(len(plain), bool), 0.8),
        ("  no such class", plain, None),
        ("  no such colour or size", ~plain & ~related, None),
        ("  no such relation", related, None),
    ):
        values = tuple(left_empty(one[torch.from_numpy(some)]) for one in masks)
        rows.append(Row(name, (*values, 0.0, *blind([one for one, yes in zip(exam.asked, some) if yes])), bar))
    return rows


def measure(painters: Painters, count: int) -> list[Row]:
    """Every figure of the report."""
    rows = [
        *kind_rows(painters, "class", make_exam("class", TEST, count, False), 0.75, None),
        *kind_rows(painters, "class, hard scenes", make_exam("class", TEST, count, True), 0.68, None),
        *kind_rows(painters, "class, held-out pairs", make_exam("class", HELD_OUT, count), None, None),
    ]
    for kind in CHOICES:
        rows += kind_rows(painters, kind, make_exam(kind, TEST, count), None, BARS.get(kind))
    outdone = lay_further_out(make_exam("relation", TEST, count))
    rows += kind_rows(painters, "relation, other further out", outdone, None, None)
    rows += kind_rows(painters, "relation, held-out pairs", make_exam("relation", HELD_OUT, count), None, None)
    return rows + absent_rows(painters, make_exam("absent", TEST, count))


def paper_measures(painters: Painters, count: int) -> dict[str, float]:
    """The measures of the paper's tables over all sentences with a referent, one kind as often as another."""
    exams = [make_exam(kind, TEST, count) for kind in refer.KINDS[:-1]]
    found = torch.cat([painters.ours(exam.images, exam.texts) for exam in exams])
    scores = masks.referring_scores(found, torch.cat([exam.masks for exam in exams]))
    precision = {f"P@{level}": value for level, value in scores.precision.items()}
    return {"overall IoU": scores.overall_iou, "mean IoU": scores.mean_iou} | precision


def make_painters(model, clipseg) -> Painters:
    """The trained model, the same before its first step, and tiny CLIPSeg."""
    torch.manual_seed(0)
    untrained = models.make(type(model).__name__, model.about["arguments"]).eval().to(next(model.parameters()).device)
    untrained.tokenize = model.tokenize
    return Painters(
        lambda images, texts: predict(model, images, texts) > 0,
        lambda images, texts: predict(untrained, images, texts) > 0,
        lambda images, texts: clipseg_masks(clipseg, images, texts),
    )


def report(path: Path, device: str = "cpu", count: int = 1000) -> tuple[Any, bool]:
    """Print the table; give its figures, and whether every bar is met.

    Raises:
        UserError: the weights are missing or not a LAVT of ours.
    """
    model = measures.open_weights(path, LAVT, device)
    painters = make_painters(model, models.load("tiny-clipseg"))
    rows, paper = measure(painters, count), paper_measures(painters, count // 2)
    print(EXPLANATION)
    print(f"{'':32}" + "".join(f"{column:>15}" for column in COLUMNS) + "   bar")
    for row in rows:
        told = "" if row.bar is None else f"   >= {row.bar:.0%} {'met' if row.met else 'MISSED'}"
        print(f"{row.name:32}" + "".join(f"{value:>15.1%}" for value in row.values) + told)
    print("as in the paper, all kinds together: " + ", ".join(f"{name} {value:.1%}" for name, value in paper.items()))
    keys = [column.lower().replace(" ", "_") for column in COLUMNS]
    table = [{"measure": row.name.strip(), **dict(zip(keys, row.values)), "bar": row.bar} for row in rows]
    return {"rows": table, "paper": paper}, all(row.met for row in rows)
