"""A tiny ViT learns to name the 64 stickers: `python -m lessons.train vit`.

Dosovitskiy et al. 2021, section 3.1, as small as it goes. The pictures show one to four stickers; the target is the
share of each class among them, so that one cross entropy serves one sticker and several. The run ends on single
stickers, which is what it is asked about.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.stickers import exams
from lessons.stickers.scenes import Scene
from lessons.stickers.sheet import CLASSES
from lessons.stickers.splits import VAL
from lessons.train import loop, measures
from lessons.train.vit.report import right_answers
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.vit import ViT

NUMBERS = {
    "image_size": (64, 64),
    "patch_size": 8,
    "embed_dim": 128,
    "depth": 4,
    "num_heads": 2,
    "mlp_dim": 512,
    "num_classes": len(CLASSES),
}
MATRIX_RATE, OTHER_RATE = 0.008, 0.004
PIECE = 32  # pictures at a time on a CPU: their activations then stay in its cache


def shares(scenes: list[Scene]) -> Tensor:
    """The share of each class among a scene's stickers: (B, 64), rows sum to one."""
    target = torch.zeros(len(scenes), len(CLASSES))
    for row, scene in zip(target, scenes):
        for sticker in scene.stickers:
            row[sticker.kind] += 1 / len(scene.stickers)
    return target


class Trainer(loop.Trainer):
    """Scenes with the share of each class, each seen once."""

    STEPS, BATCH, EVERY = 600, 256, 50

    def __init__(self, settings: loop.Settings):
        super().__init__(settings)
        self.model = ViT(**NUMBERS).to(self.device)
        self.forward = self.faster(self.model)
        self.optimizers = loop.make_optimizers(self.model, MATRIX_RATE, OTHER_RATE)

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes that no other step has seen."""
        share = 0.1 if number < 0.5 * self.steps else 0.7
        scenes = exams.training_scenes(self.scenes(number), share)
        image, target = measures.normalized(scenes.images).to(self.device), shares(scenes.scenes).to(self.device)
        factor = loop.set_rate(self.optimizers, number, self.steps)
        attention, autocast = loop.fast_step(self.device)
        with attention:
            with autocast:
                pieces = image.split(PIECE if self.device.type == "cpu" else self.batch)
                logits = torch.cat([self.forward(piece) for piece in pieces])  # (B, 64)
            loss = F.cross_entropy(logits.float(), target)
            loss.backward()
        loop.update(self.model, self.optimizers)
        return {"loss": loss.item(), "rate": factor}

    def validate(self) -> dict[str, float]:
        """Accuracy on single stickers of the validation split."""
        return {"accuracy": right_answers(self.model, exams.singles(VAL, rounds=2)).float().mean().item()}

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        return {
            "system": "vit",
            "class": "ViT",
            "arguments": NUMBERS,
            "preprocess": preprocess_to_dict(CLIPPreprocess(64)),
            "labels": " ".join(CLASSES),
            "trained_on": "Sticker World, split train",
        }
