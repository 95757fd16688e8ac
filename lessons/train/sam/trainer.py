"""Tiny SAM learns from Sticker World: `python -m lessons.train sam`.

Kirillov et al. 2023, sections 3 and appendix A, in small: each scene is encoded once and asked many prompts, three
masks answer an ambiguous one and only the best of them learns, and a second click where the first answer was wrong
comes with that answer as a mask prompt. Unlike the paper, the mask for clear prompts learns from every prompt, so that
a single click has a plain answer too.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

from lessons.stickers.splits import VAL
from lessons.train import loop
from lessons.train.sam import data as sam_data
from lessons.train.sam import report
from lessons.train.sam.data import SIZE, correct, normalized
from lessons.train.sam.report import enlarge, mask_iou, take
from minimodels.blocks import resize_positions
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.sam import POSITIVE, SAM
from minimodels.stored import models

NUMBERS = {
    "image_size": SIZE,
    "patch_size": 4,
    "embed_dim": 128,
    "depth": 4,
    "num_heads": 2,
    "mlp_dim": 512,
    "window_size": 8,
    "global_blocks": (1, 3),
    "prompt_dim": 64,
    "mask_channels": 16,
    "decoder_heads": 4,
    "decoder_mlp_dim": 128,
    "iou_dim": 64,
}
VIT = "tiny-vit"  # what the image encoder starts from; SAM's starts from an MAE
MATRIX_RATE, OTHER_RATE = 0.006, 0.002  # Muon's learning rate for the blocks' matrices, AdamW's for the rest


def mask_loss(
    logits: Float[Tensor, "*masks height width"], target: Float[Tensor, "*masks height width"]
) -> Float[Tensor, "*masks"]:
    """Of each mask 4 x binary cross entropy, mean over pixels, + Dice loss; the target is a share of 0 to 1 a pixel."""
    target, share = target.expand_as(logits), logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(-2, -1))
    overlap = 2 * (share * target).sum(dim=(-2, -1)) + 1
    return 4 * cross + 1 - overlap / (share.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) + 1)


# section: loss
def sam_loss(
    logits: Float[Tensor, "scenes prompts masks fine_h fine_w"],
    predicted: Float[Tensor, "scenes prompts masks"],
    wanted: Bool[Tensor, "scenes prompts height width"],
) -> Float[Tensor, ""]:
    """The loss of the mask for clear prompts (number 0), of the best of the other three, and of the predicted IoUs."""
    true = mask_iou(enlarge(logits.detach()) > 0, wanted[:, :, None])  # (B, P, M)
    with torch.no_grad():
        coarse = F.adaptive_avg_pool2d(wanted.float(), logits.shape[-1])[:, :, None]
        best = 1 + mask_loss(logits[:, :, 1:], coarse).argmin(dim=-1)  # (B, P): only the best of the three learns
    learning = torch.stack([logits[:, :, 0], take(logits, best)], dim=2)
    return 2 * mask_loss(enlarge(learning), wanted[:, :, None].float()).mean() + F.mse_loss(predicted, true)


# end: loss


def start_encoder(model: SAM) -> None:
    """Put tiny ViT's patches, positions and blocks into the image encoder; its relative positions start at zero.

    Tiny ViT's patches are twice as wide. With its kernel summed over 2 x 2 pixels, small patches look to its blocks as
    the patches of a picture enlarged twice.
    """
    trained, grid = models.load(VIT).state_dict(), SIZE // 4
    taken = {name: tensor for name, tensor in trained.items() if name.startswith(("blocks.", "patch_proj."))}
    kernel = taken["patch_proj.weight"]  # (D, 3 * 8 * 8)
    taken["patch_proj.weight"] = reduce(kernel, "d (c h two w also) -> d (c h w)", "sum", c=3, h=4, w=4, two=2)
    pos = resize_positions(trained["pos"][1:], (grid // 2, grid // 2), (grid, grid), antialias=False)
    taken["pos"] = rearrange(pos, "(h w) d -> h w d", h=grid)  # without the class token
    left = model.image_encoder.load_state_dict(taken, strict=False)
    assert not left.unexpected_keys and all("neck" in name or "rel_" in name for name in left.missing_keys)


class Trainer(loop.Trainer):
    """Scenes with clicks and boxes, each seen once."""

    STEPS, BATCH, EVERY = 2000, 16, 100

    def __init__(self, settings: loop.Settings):
        super().__init__(settings)
        self.model = SAM(**NUMBERS)
        start_encoder(self.model)
        self.model.to(self.device)
        self.encode = self.faster(self.model.encode)
        self.optimizers = loop.make_optimizers(self.model, matrix_rate=MATRIX_RATE, other_rate=OTHER_RATE)

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes that no other step has seen.

        Of four steps two ask by one click, one by several, one by a click that a second one corrects; all by boxes too.
        """
        chance, kind = self.dice(number), number % 4
        points = 2 + int(torch.randint(sam_data.MOST_POINTS - 1, (), generator=chance)) if kind == 2 else 1
        asked = sam_data.batch(self.scenes(number), points)
        factor = loop.set_rate(self.optimizers, number, self.steps)
        attention, autocast = loop.fast_step(self.device)
        with attention:
            with autocast:
                embedding = self.encode(normalized(asked.images).to(self.device))
            clicks = self.clicks(embedding, asked, autocast, chance, corrected=kind == 3)
            with autocast:
                boxed = self.model.decode(embedding, boxes=asked.boxes.to(self.device), multimask=None)
            loss = clicks + self.loss(boxed, asked.boxed)
            loss.backward()
        loop.update(self.model, self.optimizers)
        return {"loss": loss.item(), "rate": factor}

    def clicks(
        self, embedding: Tensor, asked: sam_data.Asked, autocast, chance: torch.Generator, *, corrected: bool
    ) -> Tensor:
        """The loss of the clicks; `corrected`: of a second round, with one more click and the first answer."""
        points = asked.points.to(self.device)
        labels = torch.full(points.shape[:-1], POSITIVE, device=self.device)
        with torch.set_grad_enabled(not corrected), autocast:
            answer = self.model.decode(embedding, points, labels, multimask=None)
        if not corrected:
            return self.loss(answer, asked.clicked)
        mask = take(answer[0], answer[1].argmax(dim=-1)).float()  # (B, P, 4 h, 4 w)
        point, label = correct(enlarge(mask[:, :, None])[:, :, 0] > 0, asked.clicked.to(self.device), chance)
        points, labels = torch.cat([points, point], dim=2), torch.cat([labels, label], dim=2)
        with autocast:
            answer = self.model.decode(embedding, points, labels, mask=mask, multimask=None)
        return self.loss(answer, asked.clicked)

    def loss(self, answer: tuple[Tensor, Tensor], wanted: Tensor) -> Tensor:
        """`sam_loss` in float32."""
        return sam_loss(answer[0].float(), answer[1].float(), wanted.to(self.device))

    def validate(self) -> dict[str, float]:
        """The barred measures on a few validation scenes."""
        return report.quick(self.model, report.make_exam(VAL, 150))

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        return {
            "system": "sam",
            "class": "SAM",
            "arguments": NUMBERS,
            "preprocess": preprocess_to_dict(sam_data.PREPROCESS),
            "trained_on": "Sticker World, split train",
        }
