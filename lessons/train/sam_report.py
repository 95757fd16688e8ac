"""What `python -m lessons.train.sam --evaluate` prints: tiny SAM on unseen scenes, beside an untrained one and colour."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lessons.stickers.splits import Split
from lessons.train import sam, sam_data
from minimodels.sam import POSITIVE

PIECE = 64  # prompts at a time


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
    embeddings = torch.cat([model.encode(sam.normalized(part).to(device)) for part in pieces(exam.images)])
    true, predicted = [], []
    for which in torch.arange(len(exam.scene)).split(PIECE):
        prompt: dict = {}
        if points is not None:
            prompt["points"] = points[which][:, None, None].to(device)  # (B, 1, 1, 2)
            prompt["labels"] = torch.full((len(which), 1, 1), POSITIVE, device=device)
        if boxes is not None:
            prompt["boxes"] = boxes[which][:, None].to(device)
        logits, iou = model.decode(embeddings[exam.scene[which]], **prompt, multimask=multimask)
        true.append(sam.iou(sam.enlarge(logits)[:, 0] > 0, exam.masks[which].to(device)[:, None]).cpu())
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
