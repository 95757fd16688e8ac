"""Train tiny CLIPSeg's decoder on Sticker World, and measure it: `python -m lessons.train clipseg [--evaluate]`.

Lueddecke and Ecker 2022, sections 3 and 4: CLIP stays as it is; only the decoder, a tenth of its size, learns to turn
what CLIP's blocks know and a prompt into a mask. Each scene is encoded once and asked several prompts.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lessons.stickers.sheet import CLASSES
from lessons.stickers.splits import TRAIN, VAL
from lessons.train import loop, measures
from lessons.train.clipseg import data as clipseg_data
from minimodels.clipseg import CLIPSeg
from minimodels.errors import UserError
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.stored import embedded, models

WEIGHTS = embedded.file("tiny-clipseg")
CLIP = "tiny-clip"
SIZE = 64  # pixels a side that the model reads; CLIP's positions are resized for any other than 64
DECODER = {
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


def at_size(image: Float[Tensor, "batch 3 height width"], size: int) -> Float[Tensor, "batch 3 size size"]:
    """Normalised pictures at the size the model reads, as its `.preprocess` resizes them."""
    if image.shape[-1] == size:
        return image
    return F.interpolate(image, (size, size), mode="bilinear", align_corners=False, antialias=True)


def at_scene(logits: Float[Tensor, "batch prompts height width"], size: int = 64) -> Tensor:
    """Logits at the scene's own size: each pixel the mean of those it covers."""
    return logits if logits.shape[-1] == size else F.adaptive_avg_pool2d(logits, size)


class Trainer:
    """Model, optimizers and data of one run; `step(number)` depends on nothing but the state and the number."""

    def __init__(
        self,
        steps: int,
        batch: int,
        device: str = "cpu",
        compiled: bool = False,
        size: int = SIZE,
        supports: int = SUPPORTS,
        clip: str = CLIP,
    ):
        frozen = models.load(clip)
        self.about = {"steps": steps, "batch": batch, "size": size, "clip": fingerprint(frozen)}
        self.steps, self.batch, self.size, self.device = steps, batch, size, torch.device(device)
        self.tokenizer, self.clip_about = frozen.tokenize, frozen.about  # type: ignore[attr-defined]
        torch.manual_seed(0)
        self.numbers = self.clip_about["arguments"] | DECODER
        self.model = CLIPSeg(**self.numbers)
        self.model.clip.load_state_dict(frozen.state_dict())
        self.model.clip.requires_grad_(False)
        self.model.to(self.device)
        self.model.tokenize = self.tokenizer  # type: ignore[assignment]
        self.encode = torch.compile(self.model.encode) if compiled else self.model.encode
        self.decoder = torch.compile(self.model.decoder) if compiled else self.model.decoder
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
        chance = torch.Generator().manual_seed(number)
        which = torch.randint(self.pictures.shape[1], (len(flat),), generator=chance).to(self.device)
        prompt = weight * text + (1 - weight) * self.pictures[kinds, which]
        return prompt.unflatten(0, (len(asked), clipseg_data.PROMPTS))

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes number * batch ... (number + 1) * batch - 1."""
        first = number * self.batch
        drawn = [clipseg_data.question(n) for n in range(first, first + self.batch)]
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
        torch.nn.utils.clip_grad_norm_(self.model.decoder.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return {"loss": loss.item(), "rate": factor}

    def validate(self) -> dict[str, float]:
        """Class-name mIoU on the validation split, plain and hard, and the share of absent classes left empty."""
        from lessons.train.clipseg import report

        self.model.eval()
        values = {}
        for hard in (False, True):
            exam = report.class_exam(VAL, 300, hard)
            masks = report.predict(self.model, exam, self.size)
            values["hard_iou" if hard else "class_iou"] = report.mean_iou(masks, exam)
        exam = report.absent_exam(VAL, 200, hard=False)
        values["left_empty"] = report.left_empty(report.predict(self.model, exam, self.size))
        self.model.train()
        return values


def fingerprint(model: torch.nn.Module) -> str:
    """A few digits that tell one set of weights from another."""
    return f"{sum(tensor.double().abs().sum().item() for tensor in model.state_dict().values()):.6f}"


def train(arguments: argparse.Namespace) -> None:
    """Run or resume; a checkpoint and a line in the log every `--every` steps; at the end the weights in fp16."""
    torch.set_num_threads(arguments.threads)
    run = Path(arguments.run)
    trainer = Trainer(arguments.steps, arguments.batch, arguments.device, arguments.compile, arguments.size)
    loop.run(trainer, run, arguments.every, arguments.minutes)
    norm = CLIPPreprocess(64)
    about = {
        "system": "clipseg",
        "class": "CLIPSeg",
        "arguments": trainer.numbers,
        "preprocess": preprocess_to_dict(TensorPreprocess(trainer.size, mean=norm.mean, std=norm.std)),
        "tokenizer": trainer.clip_about["tokenizer"],
        "trained_on": "Sticker World, split train",
        "borrowed": {"clip.": CLIP},  # frozen: the file holds the decoder alone
    }
    loop.publish(Path(arguments.out or run / "model.safetensors"), trainer, run, about)


def main(words: list[str] | None = None) -> int:
    """The command line: 0 done, 1 a bar was missed, 2 a mistake in what was given."""
    parser = argparse.ArgumentParser(prog="python -m lessons.train clipseg", description=__doc__.splitlines()[0])
    loop.add_options(parser, WEIGHTS, steps=3000, every=200, run="runs/clipseg")
    parser.set_defaults(batch=32)
    parser.add_argument("--size", type=int, default=SIZE, help=f"pixels a side the model reads (default {SIZE})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --evaluate: write the figures there too")
    arguments = parser.parse_args(words)
    try:
        if arguments.evaluate:
            from lessons.train.clipseg.report import report

            return 0 if report(Path(arguments.evaluate), arguments.device, arguments.json) else 1
        train(arguments)
    except (UserError, OSError) as error:
        print(f"lessons.train.clipseg.trainer: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
