"""Tiny CLIPSeg's decoder learns from Sticker World: `python -m lessons.train clipseg`.

Lueddecke and Ecker 2022, sections 3 and 4: CLIP stays as it is; only the decoder, a tenth of its size, learns to turn
what CLIP's blocks know and a prompt into a mask. Each scene is encoded once and asked several prompts.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lessons.stickers.sheet import CLASSES
from lessons.stickers.splits import TRAIN, VAL
from lessons.train import loop, measures
from lessons.train.clipseg import data as clipseg_data
from lessons.train.clipseg import report
from lessons.train.clipseg.report import at_scene, at_size
from minimodels.clipseg import CLIPSeg
from minimodels.errors import UserError
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.stored import models
from minimodels.terminal.parser import whole_number

CLIP = "tiny-clip"
SIZE = 64  # pixels a side that the model reads; CLIP's positions are resized for any other than 64
DECODER: dict[str, Any] = {
    "extract_layers": (0, 1, 3),
    "reduce_dim": 64,
    "decoder_heads": 2,
    "decoder_mlp_dim": 256,
    "refined_kernels": (4, 2),
}
MATRIX_RATE, OTHER_RATE = 0.008, 0.004  # Muon's learning rate for the blocks' matrices, AdamW's for the rest
SUPPORTS = 60  # pictures of each class that picture prompts are made of


def segmentation_loss(
    logits: Float[Tensor, "images prompts height width"], mask: Bool[Tensor, "images prompts height width"]
) -> Float[Tensor, ""]:
    """4 x binary cross entropy, mean over pixels, + 0.5 x Dice loss, mean over masks: small masks count too."""
    wanted, share = mask.float(), logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, wanted)
    overlap = 2 * (share * wanted).sum(dim=(-2, -1)) + 1
    dice = 1 - overlap / (share.sum(dim=(-2, -1)) + wanted.sum(dim=(-2, -1)) + 1)
    return 4 * cross + 0.5 * dice.mean()


def fingerprint(model: torch.nn.Module) -> str:
    """A few digits that tell one set of weights from another."""
    return f"{sum(tensor.double().abs().sum().item() for tensor in model.state_dict().values()):.6f}"


class Trainer(loop.Trainer):
    """Scenes with several prompts, each seen once."""

    STEPS, BATCH, EVERY = 3000, 32, 200
    OPTIONS = {
        "size": {"type": whole_number, "default": SIZE, "help": f"pixels a side that the model reads (default {SIZE})"}
    }

    def __init__(self, settings: loop.Settings, size: int = SIZE, supports: int = SUPPORTS, clip: str = CLIP):
        super().__init__(settings)
        frozen = models.load(clip)
        patch_size = frozen.about["arguments"]["patch_size"]
        if size % patch_size:
            raise UserError(f"--size {size}: it must be a multiple of {clip}'s patch size, {patch_size}")
        self.about |= {"size": size, "clip": fingerprint(frozen)}
        self.size = size
        self.tokenizer, self.clip_about = frozen.tokenize, frozen.about  # type: ignore[attr-defined]
        self.model = CLIPSeg(frozen.requires_grad_(False), **DECODER)  # type: ignore[arg-type]
        self.model.to(self.device)
        self.model.tokenize = self.tokenizer  # type: ignore[assignment]
        self.encode = self.faster(self.model.encode)
        self.decoder = self.faster(self.model.decoder)
        self.optimizers = loop.make_optimizers(self.model.decoder, matrix_rate=MATRIX_RATE, other_rate=OTHER_RATE)
        self.texts = self.embed(clipseg_data.vocabulary())
        self.pictures = self.embed_supports(supports)  # (classes, supports, E)

    @torch.no_grad()
    def embed(self, texts: list[str]) -> dict[str, Tensor]:
        """Each text's prompt, (E,)."""
        parts = [texts[n : n + 256] for n in range(0, len(texts), 256)]
        return {
            text: prompt
            for part in parts
            for text, prompt in zip(part, self.model.encode_text(self.tokenizer(part).to(self.device)))
        }

    @torch.no_grad()
    def embed_supports(self, count: int) -> Float[Tensor, "classes supports embed_dim"]:
        """Prompts from `count` pictures of each class."""
        return torch.stack(
            [
                self.model.encode_image(clipseg_data.support_pictures(range(count), kind, TRAIN).to(self.device))
                for kind in range(len(CLASSES))
            ]
        )

    def prompts(self, asked: list[list[clipseg_data.Asked]], number: int) -> Float[Tensor, "batch prompts embed_dim"]:
        """Texts, and for those with a weight below one a picture of the same class mixed in."""
        flat = [one for row in asked for one in row]
        unknown = list(dict.fromkeys(one.text for one in flat if one.text not in self.texts))
        texts = self.texts | (self.embed(unknown) if unknown else {})
        text = torch.stack([texts[one.text] for one in flat])  # (B P, E)
        weight = torch.tensor([one.text_weight for one in flat], device=self.device)[:, None]
        kinds = torch.tensor([max(one.kind, 0) for one in flat], device=self.device)
        which = torch.randint(self.pictures.shape[1], (len(flat),), generator=self.dice(number)).to(self.device)
        prompt = weight * text + (1 - weight) * self.pictures[kinds, which]
        return prompt.unflatten(0, (len(asked), clipseg_data.PROMPTS))

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes that no other step has seen."""
        drawn = [clipseg_data.question(n) for n in self.scenes(number)]
        image = at_size(measures.normalized(np.stack([picture for picture, _ in drawn])).to(self.device), self.size)
        asked = [prompts for _, prompts in drawn]
        mask = torch.from_numpy(np.stack([[one.mask for one in row] for row in asked])).to(self.device)  # (B, P, H, W)
        factor = loop.set_rate(self.optimizers, number, self.steps)
        attention, autocast = loop.fast_step(self.device)
        with attention:
            with autocast:
                with torch.no_grad():
                    activations = self.encode(image)
                logits = at_scene(self.decoder(activations, self.prompts(asked, number)))  # (B, P, 64, 64)
            loss = segmentation_loss(logits.float(), mask)
            loss.backward()
        loop.update(self.model.decoder, self.optimizers)
        return {"loss": loss.item(), "rate": factor}

    def validate(self) -> dict[str, float]:
        """Class-name mIoU on the validation split, plain and hard, and the share of absent classes left empty."""
        values = {}
        for hard in (False, True):
            exam = report.class_exam(VAL, 300, hard)
            masks = report.predict(self.model, exam, self.size)
            values["hard_iou" if hard else "class_iou"] = report.mean_iou(masks, exam)
        exam = report.absent_exam(VAL, 200, hard=False)
        values["left_empty"] = report.left_empty(report.predict(self.model, exam, self.size))
        return values

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        norm = CLIPPreprocess(64)
        return {
            "system": "clipseg",
            "class": "CLIPSeg",
            "arguments": {"clip": {"class": "CLIP", "arguments": self.clip_about["arguments"]}, **DECODER},
            "preprocess": preprocess_to_dict(TensorPreprocess(self.size, mean=norm.mean, std=norm.std)),
            "tokenizer": self.clip_about["tokenizer"],
            "trained_on": "Sticker World, split train",
            "borrowed": {"clip.": CLIP},  # frozen: the file holds the decoder alone
        }
