"""Train tiny SAM on Sticker World, and measure it: `python -m lessons.train sam [--evaluate]`.

Kirillov et al. 2023, sections 3 and appendix A, in small: each scene is encoded once and asked many prompts, three
masks answer an ambiguous one and only the best of them learns, and a second click where the first answer was wrong
comes with that answer as a mask prompt. Unlike the paper, the mask for clear prompts learns from every prompt, so that
a single click has a plain answer too.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lessons.stickers.splits import VAL
from lessons.train import loop
from lessons.train.sam import data as sam_data
from minimodels.blocks import resize_positions
from minimodels.errors import UserError
from minimodels.pixels.preprocess import CLIP_MEAN, CLIP_STD, preprocess_to_dict
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam import NEGATIVE, POSITIVE, SAM
from minimodels.stored import embedded, models

WEIGHTS = embedded.file("tiny-sam")
SIZE = 64
NUMBERS = {
    **{"image_size": SIZE, "patch_size": 4, "embed_dim": 128, "depth": 4, "num_heads": 2, "mlp_dim": 512},
    **{"window_size": 8, "global_blocks": (1, 3), "prompt_dim": 64, "mask_channels": 16, "decoder_heads": 4},
    **{"decoder_mlp_dim": 128, "iou_dim": 64},
}
VIT = "tiny-vit"  # what the image encoder starts from; SAM's starts from an MAE
PREPROCESS = PaddedPreprocess(SIZE, mean=tuple(255 * mean for mean in CLIP_MEAN), std=tuple(255 * s for s in CLIP_STD))
MEAN, STD = (torch.tensor(numbers).view(3, 1, 1) for numbers in (PREPROCESS.mean, PREPROCESS.std))
MATRIX_RATE, OTHER_RATE = 0.006, 0.002  # Muon's learning rate for the blocks' matrices, AdamW's for the rest


def normalized(images) -> Float[Tensor, "batch 3 height width"]:
    """Pictures (B, H, W, 3) uint8 as the model reads them; they need no padding, they have its size."""
    return (rearrange(torch.from_numpy(images), "b h w c -> b c h w").float() - MEAN) / STD


def mask_loss(
    logits: Float[Tensor, "*masks height width"], target: Float[Tensor, "*masks height width"]
) -> Float[Tensor, "*masks"]:
    """Of each mask 4 x binary cross entropy, mean over pixels, + Dice loss; the target is a share of 0 to 1 a pixel."""
    target, share = target.expand_as(logits), logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(-2, -1))
    overlap = 2 * (share * target).sum(dim=(-2, -1)) + 1
    return 4 * cross + 1 - overlap / (share.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) + 1)


def iou(masks: Bool[Tensor, "*masks height width"], wanted: Bool[Tensor, "*masks height width"]) -> Tensor:
    """Intersection over union; 0 where both are empty."""
    both, either = (masks & wanted).sum(dim=(-2, -1)), (masks | wanted).sum(dim=(-2, -1))
    return both / either.clamp(min=1)


def enlarge(logits: Float[Tensor, "scenes prompts masks fine_h fine_w"]) -> Tensor:
    """Masks at the scene's size, as `SAM.enlarge` makes them."""
    large = F.interpolate(logits.flatten(0, 1), (SIZE, SIZE), mode="bilinear", align_corners=False)
    return large.unflatten(0, logits.shape[:2])


# section: loss
def sam_loss(
    logits: Float[Tensor, "scenes prompts masks fine_h fine_w"],
    predicted: Float[Tensor, "scenes prompts masks"],
    wanted: Bool[Tensor, "scenes prompts height width"],
) -> Float[Tensor, ""]:
    """The loss of the mask for clear prompts (number 0), of the best of the other three, and of the predicted IoUs."""
    true = iou(enlarge(logits.detach()) > 0, wanted[:, :, None])  # (B, P, M)
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


class Trainer:
    """Model, optimizers and data of one run; `step(number)` depends on nothing but the state and the number."""

    def __init__(self, steps: int, batch: int, device: str = "cpu", compiled: bool = False):
        self.about = {"steps": steps, "batch": batch}
        self.steps, self.batch, self.device = steps, batch, torch.device(device)
        torch.manual_seed(0)
        self.model = SAM(**NUMBERS)
        start_encoder(self.model)
        self.model.to(self.device)
        self.encode = torch.compile(self.model.encode) if compiled else self.model.encode
        self.optimizers = loop.make_optimizers(self.model, matrix_rate=MATRIX_RATE, other_rate=OTHER_RATE)

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes number * batch ... (number + 1) * batch - 1.

        Of four steps two ask by one click, one by several, one by a click that a second one corrects; all by boxes too.
        """
        chance, kind = torch.Generator().manual_seed(number), number % 4
        points = 2 + int(torch.randint(sam_data.MOST_POINTS - 1, (), generator=chance)) if kind == 2 else 1
        asked = sam_data.batch(number * self.batch, self.batch, points)
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
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
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
        from lessons.train.sam import report

        self.model.eval()
        values = report.quick(self.model, report.make_exam(VAL, 150))
        self.model.train()
        return values


def take(logits: Float[Tensor, "scenes prompts masks height width"], which: Int[Tensor, "scenes prompts"]) -> Tensor:
    """One mask of each prompt, (B, P, H, W)."""
    place = which[:, :, None, None, None].expand(-1, -1, 1, *logits.shape[-2:])
    return logits.gather(2, place)[:, :, 0]


# section: correct
def correct(
    answer: Bool[Tensor, "scenes prompts height width"],
    wanted: Bool[Tensor, "scenes prompts height width"],
    chance: torch.Generator,
) -> tuple[Float[Tensor, "scenes prompts 1 2"], Tensor]:
    """One more click (x, y) where the answer is wrong, label 1 where it misses and 0 where it spills over.

    A perfect answer gets another click inside.
    """
    wrong = (answer != wanted).flatten(0, 1).flatten(1).float().cpu()  # (B P, H W)
    inside = wanted.flatten(0, 1).flatten(1).float().cpu()
    weights = torch.where(wrong.any(dim=1, keepdim=True), wrong, inside)
    place = torch.multinomial(weights, 1, generator=chance)  # (B P, 1)
    label = torch.where(inside.gather(1, place) > 0, POSITIVE, NEGATIVE)
    width = answer.shape[-1]
    point = torch.stack([place % width, place // width], dim=-1).float()  # (B P, 1, 2)
    shape = answer.shape[:2]
    return point.unflatten(0, shape).to(answer.device), label.unflatten(0, shape).to(answer.device)


# end: correct


def train(arguments: argparse.Namespace) -> None:
    """Run or resume; a checkpoint and a line in the log every `--every` steps; at the end the weights in fp16."""
    torch.set_num_threads(arguments.threads)
    run = Path(arguments.run)
    trainer = Trainer(arguments.steps, arguments.batch, arguments.device, arguments.compile)
    loop.run(trainer, run, arguments.every, arguments.minutes)
    about = {
        "system": "sam",
        "class": "SAM",
        "arguments": NUMBERS,
        "preprocess": preprocess_to_dict(PREPROCESS),
        "trained_on": "Sticker World, split train",
    }
    loop.publish(Path(arguments.out or run / "model.safetensors"), trainer, run, about)


def main(words: list[str] | None = None) -> int:
    """The command line: 0 done, 1 a bar was missed, 2 a mistake in what was given."""
    parser = argparse.ArgumentParser(prog="python -m lessons.train sam", description=__doc__.splitlines()[0])
    loop.add_options(parser, WEIGHTS, steps=2000, every=100, run="runs/sam")
    parser.set_defaults(batch=16)
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --evaluate: write the figures there too")
    arguments = parser.parse_args(words)
    try:
        if arguments.evaluate:
            from lessons.train.sam.report import report

            return 0 if report(Path(arguments.evaluate), arguments.device, arguments.json) else 1
        train(arguments)
    except (UserError, OSError) as error:
        print(f"lessons.train.sam.trainer: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
