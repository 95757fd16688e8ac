"""What `python -m lessons.train sam --evaluate` prints: tiny SAM on unseen scenes, beside simple rules."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lessons.stickers.splits import HELD_OUT, TEST, Split
from lessons.train import measures
from lessons.train.sam import data as sam_data
from minimodels.sam import POSITIVE, SAM

PIECE = 64  # prompts at a time


def mask_iou(masks: Bool[Tensor, "*masks height width"], wanted: Bool[Tensor, "*masks height width"]) -> Tensor:
    """Intersection over union; 0 where both are empty."""
    both, either = (masks & wanted).sum(dim=(-2, -1)), (masks | wanted).sum(dim=(-2, -1))
    return both / either.clamp(min=1)


def enlarge(logits: Float[Tensor, "scenes prompts masks fine_h fine_w"]) -> Tensor:
    """Masks at the scene's size, as `SAM.enlarge` makes them."""
    large = F.interpolate(logits.flatten(0, 1), (sam_data.SIZE, sam_data.SIZE), mode="bilinear", align_corners=False)
    return large.unflatten(0, logits.shape[:2])


def take(logits: Float[Tensor, "scenes prompts masks height width"], which: Int[Tensor, "scenes prompts"]) -> Tensor:
    """One mask of each prompt, (B, P, H, W)."""
    place = which[:, :, None, None, None].expand(-1, -1, 1, *logits.shape[-2:])
    return logits.gather(2, place)[:, :, 0]


class Exam(NamedTuple):
    """Pictures (N, H, W, 3) uint8, and for each of Q stickers in them: which picture, its pixels, a click in its
    middle, one anywhere on it, and its box."""

    images: np.ndarray
    scene: Tensor
    masks: Bool[Tensor, "stickers height width"]
    middles: Float[Tensor, "stickers 2"]
    anywhere: Float[Tensor, "stickers 2"]
    boxes: Float[Tensor, "stickers 4"]


def make_exam(split: Split, count: int, start: int = 0) -> Exam:
    """Every visible sticker of `count` scenes."""
    images, rows = [], []
    for number in range(start, start + count):
        picture, owner = sam_data.scene(number, split)
        chance = np.random.Generator(np.random.PCG64(split.seed(sam_data.ASIDE + number)))
        images.append(picture)
        for sticker in sam_data.visible(owner):
            mask = owner == sticker
            clicks = sam_data.middle(mask), sam_data.any_pixel(chance, mask)
            rows.append((len(images) - 1, mask, *clicks, sam_data.box_of(mask)))
    scene, masks, middles, anywhere, boxes = (np.array(column) for column in zip(*rows))
    points = (torch.from_numpy(column).float() for column in (middles, anywhere, boxes))
    return Exam(np.stack(images), torch.from_numpy(scene), torch.from_numpy(masks), *points)


class Answers(NamedTuple):
    """True and predicted IoU of each mask of each prompt, (Q, M)."""

    true: Float[Tensor, "stickers masks"]
    predicted: Float[Tensor, "stickers masks"]

    @property
    def best(self) -> Float[Tensor, "stickers"]:
        """True IoU of the best of the masks."""
        return self.true.max(dim=1).values

    @property
    def chosen(self) -> Float[Tensor, "stickers"]:
        """True IoU of the mask that the model itself holds for the best."""
        return self.true.gather(1, self.predicted.argmax(dim=1, keepdim=True))[:, 0]


@torch.no_grad()
def ask(model, exam: Exam, *, points: Tensor | None = None, boxes: Tensor | None = None, multimask: bool) -> Answers:
    """Each sticker prompted once."""
    device = next(model.parameters()).device
    embeddings = torch.cat([model.encode(sam_data.normalized(part).to(device)) for part in pieces(exam.images)])
    true, predicted = [], []
    for which in torch.arange(len(exam.scene)).split(PIECE):
        prompt: dict = {}
        if points is not None:
            prompt["points"] = points[which][:, None, None].to(device)  # (B, 1, 1, 2)
            prompt["labels"] = torch.full((len(which), 1, 1), POSITIVE, device=device)
        if boxes is not None:
            prompt["boxes"] = boxes[which][:, None].to(device)
        logits, iou = model.decode(embeddings[exam.scene[which]], **prompt, multimask=multimask)
        true.append(mask_iou(enlarge(logits)[:, 0] > 0, exam.masks[which].to(device)[:, None]).cpu())
        predicted.append(iou[:, 0].cpu())
    return Answers(torch.cat(true), torch.cat(predicted))


def pieces(images: np.ndarray) -> list[np.ndarray]:
    """A few at a time."""
    return [images[n : n + PIECE] for n in range(0, len(images), PIECE)]


def correlation(answers: Answers) -> float:
    """Pearson's, of predicted and true IoU over all masks."""
    return torch.corrcoef(torch.stack([answers.predicted.flatten(), answers.true.flatten()]))[0, 1].item()


def quick(model, exam: Exam) -> dict[str, float]:
    """The barred measures."""
    click, box = (
        ask(model, exam, points=exam.middles, multimask=True),
        ask(model, exam, boxes=exam.boxes, multimask=False),
    )
    return {
        "click": click.best.mean().item(),
        "chosen": click.chosen.mean().item(),
        "box": box.best.mean().item(),
        "correlation": correlation(click),
    }


# ---------------------------------------------------------------- the table


def by_colour(exam: Exam) -> Tensor:
    """IoU of a rule without learning: the region around the click whose colours are like the clicked pixel's."""
    everywhere = np.ones(exam.masks.shape[1:], dtype=bool)
    pictures, places = exam.images[exam.scene.numpy()], exam.middles.int().tolist()
    found = [sam_data.patch(picture, everywhere, (x, y)) for picture, (x, y) in zip(pictures, places)]
    return mask_iou(torch.from_numpy(np.stack(found)), exam.masks)


def by_box(exam: Exam) -> Tensor:
    """IoU of the ellipse that fills the box."""
    y, x = torch.meshgrid(*(torch.arange(side) for side in exam.masks.shape[1:]), indexing="ij")
    x0, y0, x1, y1 = (side[:, None, None] for side in exam.boxes.unbind(dim=1))
    across, down = (x1 - x0 + 1) / 2, (y1 - y0 + 1) / 2
    inside = ((x - (x0 + x1) / 2) / across) ** 2 + ((y - (y0 + y1) / 2) / down) ** 2 <= 1
    return mask_iou(inside, exam.masks)


@torch.no_grad()
def clicks_in_turn(model, exam: Exam, rounds: int) -> list[float]:
    """Mean IoU after one click, and after each further one where the answer was wrong, with that answer as a mask."""
    device, chance = next(model.parameters()).device, torch.Generator().manual_seed(0)
    totals = [0.0] * rounds
    for which in torch.arange(len(exam.scene)).split(PIECE):
        embedding = model.encode(sam_data.normalized(exam.images[exam.scene[which].numpy()]).to(device))
        wanted, points = exam.masks[which][:, None].to(device), exam.middles[which][:, None, None].to(device)
        labels, mask = torch.full((len(which), 1, 1), POSITIVE, device=device), None
        for number in range(rounds):
            logits, iou = model.decode(embedding, points, labels, mask=mask, multimask=None)
            mask = take(logits, iou.argmax(dim=-1))
            answer = enlarge(mask[:, :, None])[:, :, 0] > 0
            totals[number] += mask_iou(answer, wanted).sum().item()
            point, label = sam_data.correct(answer, wanted, chance)
            points, labels = torch.cat([points, point], dim=2), torch.cat([labels, label], dim=2)
    return [total / len(exam.scene) for total in totals]


Row = tuple[str, float, float | None, float | None, float | None]  # measure, tiny SAM, untrained, simple rule, bar


def measure(model, untrained, count: int) -> list[Row]:
    """Every figure of the report, on `count` scenes of each split."""
    rows: list[Row] = []
    for split, title in ((TEST, "unseen scenes"), (HELD_OUT, "held-out combinations")):
        exam = make_exam(split, count)
        bars = (0.85, 0.90, 0.80) if split is TEST else (None, None, None)
        click, none = (ask(one, exam, points=exam.middles, multimask=True) for one in (model, untrained))
        rows.append((f"{title}: one click, best of three", *means(click.best, none.best, by_colour(exam)), bars[0]))
        rows.append((f"{title}: one click, the trusted mask", *means(click.chosen, none.chosen), None, None))
        box, none_box = (ask(one, exam, boxes=exam.boxes, multimask=False) for one in (model, untrained))
        rows.append((f"{title}: box", *means(box.best, none_box.best, by_box(exam)), bars[1]))
        told = (correlation(click), correlation(none))
        rows.append((f"{title}: predicted with true IoU (correlation)", *told, None, bars[2]))
    exam = make_exam(TEST, count // 2, start=10**6)
    anywhere, single = (ask(model, exam, points=exam.anywhere, multimask=many) for many in (True, False))
    rows.append(("a click anywhere on it, best of three", anywhere.best.mean().item(), None, None, None))
    rows.append(("a click anywhere on it, the single mask", single.best.mean().item(), None, None, None))
    for number, value in enumerate(clicks_in_turn(model, exam, 4), start=1):
        rows.append((f"{number} click{'s' * (number > 1)}, each where the answer was wrong", value, None, None, None))
    return rows


def means(*values: Tensor) -> list[float]:
    """Of each."""
    return [value.mean().item() for value in values]


def report(path: Path, device: str = "cpu", count: int = 500) -> tuple[Any, bool]:
    """Print the table; give its figures, and whether every bar is met.

    Raises:
        UserError: the weights are missing or not a SAM of ours.
    """
    model = measures.open_weights(path, SAM, device)
    torch.manual_seed(0)
    untrained = type(model)(**model.about["arguments"]).eval().to(device)  # type: ignore[index]
    rows, met = measure(model, untrained, count), True
    print("IoU, mean over stickers. Simple rule: the region of like colours around the click; the ellipse in the box.")
    print(f"{'':60}{'tiny SAM':>9}{'untrained':>11}{'simple rule':>13}   bar")
    for name, ours, none, rule, bar in rows:
        met &= bar is None or ours >= bar
        told = "" if bar is None else f">= {bar:.2f} {'met' if ours >= bar else 'MISSED'}"
        cells = ["" if value is None else f"{value:.3f}" for value in (none, rule)]
        print(f"{name:60}{ours:>9.3f}{cells[0]:>11}{cells[1]:>13}   {told}")
    keys = ("measure", "tiny_sam", "untrained", "simple_rule", "bar")
    return [dict(zip(keys, row)) for row in rows], met
