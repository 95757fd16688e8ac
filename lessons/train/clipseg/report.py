"""What `python -m lessons.train clipseg --evaluate` prints: tiny CLIPSeg on unseen scenes, beside its shortcuts."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lessons.stickers import baselines, refer
from lessons.stickers.scenes import draw
from lessons.stickers.sheet import CLASS_NUMBER
from lessons.stickers.splits import HELD_OUT, TEST, Split
from lessons.train import measures
from lessons.train.clipseg import data as clipseg_data
from minimodels.clipseg import CLIPSeg
from minimodels.metrics import masks


def at_size(image: Float[Tensor, "batch 3 height width"], size: int) -> Float[Tensor, "batch 3 size size"]:
    """Normalised pictures at the size the model reads, as its `.preprocess` resizes them."""
    if image.shape[-1] == size:
        return image
    return F.interpolate(image, (size, size), mode="bilinear", align_corners=False, antialias=True)


def at_scene(logits: Float[Tensor, "batch prompts height width"], size: int = 64) -> Tensor:
    """Logits at the scene's own size: each pixel the mean of those it covers."""
    return logits if logits.shape[-1] == size else F.adaptive_avg_pool2d(logits, size)


class Exam(NamedTuple):
    """Scenes (N, 64, 64, 3) uint8, one expression for each, and the pixels meant (N, 64, 64)."""

    images: np.ndarray
    asked: list[refer.Expression]
    masks: Bool[Tensor, "scenes height width"]


def make_exam(asked: list[refer.Expression]) -> Exam:
    """Draw the scenes of these expressions."""
    drawn = [draw(one.scene) for one in asked]
    masks = [(owner == one.target + 1) & (one.target >= 0) for one, (_, owner) in zip(asked, drawn)]
    return Exam(np.stack([picture for picture, _ in drawn]), asked, torch.from_numpy(np.stack(masks)))


def class_exam(split: Split, count: int, hard: bool, kind: str = "class", start: int = 0) -> Exam:
    """Expressions of one kind."""
    return make_exam([refer.expression(start + n, split, kind, hard) for n in range(count)])


def absent_exam(split: Split, count: int, hard: bool, start: int = 0) -> Exam:
    """Class names of which the scene has none."""
    asked, number = [], start
    while len(asked) < count:
        one = refer.expression(number, split, "absent", hard)
        number += 1
        if one.text == f"the {one.noun}" and one.noun not in [s.name for s in one.scene.stickers]:
            asked.append(one)
    return make_exam(asked)


@torch.no_grad()
def predict(model, exam: Exam, size: int, prompt: Tensor | None = None, piece: int = 64) -> Tensor:
    """Probabilities (N, 64, 64) of each scene's own prompt: its text, or the one given (N, E)."""
    device = next(model.parameters()).device
    if prompt is None:
        prompt = text_prompts(model, exam)
    parts = []
    for n in range(0, len(exam.images), piece):
        image = at_size(measures.normalized(exam.images[n : n + piece]).to(device), size)
        logits = model.decode(model.encode(image), prompt[n : n + piece][:, None])  # (B, 1, H, W)
        parts.append(at_scene(logits)[:, 0].sigmoid().cpu())
    return torch.cat(parts)


def text_prompts(model, exam: Exam) -> Tensor:
    """Each scene's text as a prompt: (N, E)."""
    with torch.no_grad():
        return model.encode_text(model.tokenize([one.text for one in exam.asked]).to(next(model.parameters()).device))


def ious(shares: Tensor, exam: Exam, threshold: float = 0.5) -> Tensor:
    """Intersection over union of each scene: (N,)."""
    found = shares > threshold
    both, either = (found & exam.masks).sum((1, 2)), (found | exam.masks).sum((1, 2))
    return both / either.clamp(min=1)


def mean_iou(shares: Tensor, exam: Exam, threshold: float = 0.5) -> float:
    """The mean over scenes."""
    return ious(shares, exam, threshold).mean().item()


def left_empty(shares: Tensor, threshold: float = 0.5) -> float:
    """The share of scenes in which no pixel passes the threshold."""
    return (shares.flatten(1).amax(1) <= threshold).float().mean().item()


# ---------------------------------------------------------------- the report

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the text, in mixes
EXPLANATION = """
Unseen seeds and background textures, threshold 0.5. IoU is the mean over scenes of intersection over union with the
pixels that are meant. Everything: the whole picture painted. Colour only: an oracle that is told the pixels of each
sticker and takes the one whose colours are nearest. Untrained: the same decoder before the first step.
"""
Row = tuple[str, float, float | None, float | None, float | None, float | None]
# name, model, untrained, colour only, everything, bar


def present_row(model, untrained, size: int, name: str, exam: Exam, bar: float | None) -> Row:
    """IoU of prompts for what is there, beside its shortcuts."""
    ours, start = (mean_iou(predict(one, exam, size), exam) for one in (model, untrained))
    colour = float(np.mean([baselines.colour_only_choice(one) for one in exam.asked]))
    return name, ours, start, colour, exam.masks.float().mean().item(), bar


def text_rows(model, untrained, size: int, count: int) -> list[Row]:
    """Class names, plain and hard, on held-out combinations; sizes, colours, places and relations."""
    exams: list[tuple[str, Exam, float | None]] = [
        ("class name", class_exam(TEST, count, False), 0.72),
        ("class name, hard scenes", class_exam(TEST, count, True), 0.65),
        ("class name, held-out combinations", class_exam(HELD_OUT, count, False), None),
    ]
    for kind in ("attribute", "place", "extreme", "relation"):
        exams.append((f"{kind}, hard scenes", class_exam(TEST, count // 2, True, kind), None))
    return [present_row(model, untrained, size, *one) for one in exams]


def absent_rows(model, untrained, size: int, count: int) -> list[Row]:
    """The share of absent class names for which no pixel at all is painted."""
    rows: list[Row] = []
    for hard, bar in ((False, 0.85), (True, None)):
        exam = absent_exam(TEST, count, hard)
        ours, start = (left_empty(predict(one, exam, size)) for one in (model, untrained))
        rows.append((f"absent class left empty{', look-alike' if hard else ''}", ours, start, None, None, bar))
    return rows


def mix_rows(model, size: int, count: int) -> list[Row]:
    """The same scenes asked by a picture of the class, by its name, and by mixes of the two."""
    exam = class_exam(TEST, count, False)
    kinds = [CLASS_NUMBER[one.noun] for one in exam.asked]
    with torch.no_grad():
        shown = torch.cat(
            [clipseg_data.support_pictures(range(n, n + 1), kind, TEST) for n, kind in enumerate(kinds)]
        ).to(next(model.parameters()).device)
        picture, text = model.encode_image(shown), text_prompts(model, exam)
    values = [mean_iou(predict(model, exam, size, w * text + (1 - w) * picture), exam) for w in WEIGHTS]
    bars = [values[-1] - 0.08, *[min(values[0], values[-1])] * (len(WEIGHTS) - 2), None]
    names = ["picture prompt", *(f"mix, {weight:.0%} text" for weight in WEIGHTS[1:-1]), "text prompt, same scenes"]
    return [(name, value, None, None, None, bar) for name, value, bar in zip(names, values, bars)]


def measure(model, untrained, size: int, count: int = 1000) -> list[Row]:
    """Every figure of the report."""
    return [
        *text_rows(model, untrained, size, count),
        *absent_rows(model, untrained, size, count // 2),
        *mix_rows(model, size, count // 2),
    ]


def paper_measures(model, size: int, count: int) -> dict[str, float]:
    """The measures of the paper's tables on class names: mIoU, foreground IoU and AP."""
    exam = class_exam(TEST, count, False)
    counts = masks.mask_counts(predict(model, exam, size).double(), exam.masks)
    kinds = torch.tensor([CLASS_NUMBER[one.noun] for one in exam.asked])
    half = masks.THRESHOLDS.tolist().index(0.5)
    return {
        "mIoU over classes": masks.mean_class_iou(counts, kinds)[half].item(),
        "foreground IoU": masks.foreground_iou(counts)[half].item(),
        "AP": masks.average_precision(counts),
    }


def report(path: Path, device: str = "cpu", count: int = 1000) -> tuple[Any, bool]:
    """Print the table; give its figures, and whether every bar is met.

    Raises:
        UserError: the weights are missing or not a CLIPSeg of ours.
    """
    model = measures.open_weights(path, CLIPSeg, device)
    torch.manual_seed(0)
    untrained = models.make(type(model).__name__, model.about["arguments"]).eval().to(device)
    untrained.clip.load_state_dict(model.clip.state_dict())
    untrained.tokenize = model.tokenize
    size = model.about["preprocess"]["size"]
    rows, paper = measure(model, untrained, size, count), paper_measures(model, size, count)
    print(EXPLANATION)
    print(f"{'':36}{'tiny CLIPSeg':>13}{'untrained':>11}{'colour only':>13}{'everything':>12}   bar")
    met = True
    for name, ours, *others, bar in rows:
        met &= bar is None or ours >= bar
        told = "" if bar is None else f">= {bar:.1%} {'met' if ours >= bar else 'MISSED'}"
        cells = ["" if value is None else f"{value:.1%}" for value in others]
        print(f"{name:36}{ours:>13.1%}{cells[0]:>11}{cells[1]:>13}{cells[2]:>12}   {told}")
    print("as in the paper, class names at 0.5: " + ", ".join(f"{name} {value:.1%}" for name, value in paper.items()))
    keys = ("measure", "tiny_clipseg", "untrained", "colour_only", "everything", "bar")
    return {"rows": [dict(zip(keys, row)) for row in rows], "paper": paper}, met
