"""Train a tiny ViT to name the 64 stickers, and measure it: `python -m lessons.train vit [--evaluate]`.

Dosovitskiy et al. 2021, section 3.1, as small as it goes. The pictures show one to four stickers; the target is the
share of each class among them, so that one cross entropy serves one sticker and several. The run ends on single
stickers, which is what it is asked about.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.stickers import baselines, exams
from lessons.stickers.scenes import Scene
from lessons.stickers.sheet import CLASSES, SIZES
from lessons.stickers.splits import TEST, VAL
from lessons.train import loop, measures
from minimodels.errors import UserError
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.stored import embedded, models
from minimodels.vit import ViT

WEIGHTS = embedded.file("tiny-vit")
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
PIECE = 32  # as in clip.py


def shares(scenes: list[Scene]) -> Tensor:
    """The share of each class among a scene's stickers: (B, 64), rows sum to one."""
    target = torch.zeros(len(scenes), len(CLASSES))
    for row, scene in zip(target, scenes):
        for sticker in scene.stickers:
            row[sticker.kind] += 1 / len(scene.stickers)
    return target


class Trainer:
    """Model, optimizers and data of one run; `step(number)` depends on nothing but the state and the number."""

    def __init__(self, steps: int, batch: int, device: str = "cpu", compiled: bool = False):
        self.about = {"steps": steps, "batch": batch}
        self.steps, self.batch, self.device = steps, batch, torch.device(device)
        torch.manual_seed(0)
        self.model = ViT(**NUMBERS).to(self.device)
        self.forward = torch.compile(self.model) if compiled else self.model
        self.optimizers = loop.make_optimizers(self.model, MATRIX_RATE, OTHER_RATE)

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes number * batch ... (number + 1) * batch - 1."""
        share = 0.1 if number < 0.5 * self.steps else 0.7
        scenes = exams.training_scenes(range(number * self.batch, (number + 1) * self.batch), share)
        image, target = measures.normalized(scenes.images).to(self.device), shares(scenes.scenes).to(self.device)
        factor = loop.set_rate(self.optimizers, number, self.steps)
        attention, autocast = loop.fast_step(self.device)
        with attention:
            with autocast:
                pieces = image.split(PIECE if self.device.type == "cpu" else self.batch)
                logits = torch.cat([self.forward(piece) for piece in pieces])  # (B, 64)
            loss = F.cross_entropy(logits.float(), target)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return {"loss": loss.item(), "rate": factor}

    def validate(self) -> dict[str, float]:
        """Accuracy on single stickers of the validation split."""
        return {"accuracy": right_answers(self.model, exams.singles(VAL, rounds=2)).float().mean().item()}


@torch.no_grad()
def right_answers(model: ViT, exam: exams.Singles) -> Tensor:
    """For each picture whether the largest logit is its class: (N,) bool."""
    device = next(model.parameters()).device
    logits = torch.cat([model(part.to(device)) for part in measures.normalized(exam.images).split(128)])  # (N, 64)
    return logits.argmax(dim=1).cpu() == torch.from_numpy(exam.kinds)


def train(arguments: argparse.Namespace) -> None:
    """Run or resume; a checkpoint and a line in the log every `--every` steps; at the end the weights in fp16."""
    torch.set_num_threads(arguments.threads)
    run = Path(arguments.run)
    trainer = Trainer(arguments.steps, arguments.batch, arguments.device, arguments.compile)
    loop.run(trainer, run, arguments.every, arguments.minutes)
    about = {
        "system": "vit",
        "class": "ViT",
        "arguments": NUMBERS,
        "preprocess": preprocess_to_dict(CLIPPreprocess(64)),
        "labels": " ".join(CLASSES),
        "trained_on": "Sticker World, split train",
    }
    loop.publish(Path(arguments.out or run / "model.safetensors"), trainer, run, about)


def evaluate(path: Path, device: str) -> None:
    """Accuracy on unseen seeds and textures, beside the shortcuts."""
    model = models.open_file(path, device=device)
    exam = exams.singles(TEST, rounds=10)
    torch.manual_seed(0)
    columns = {
        "tiny ViT": right_answers(model, exam).numpy(),
        "colour only": baselines.picture_colours_class(exam),
        "told pixels": baselines.colour_only_class(exam),
        "untrained": right_answers(ViT(**NUMBERS).eval().to(device), exam).numpy(),
    }
    print(f"{len(exam.kinds)} pictures of one sticker, unseen seeds and textures; chance {1 / len(CLASSES):.1%}")
    print(f"{'':14}" + "".join(f"{name:>14}" for name in columns))
    for name, chosen in [("all sizes", exam.sizes >= 0)] + [
        (f"{pixels} pixels", exam.sizes == n) for n, pixels in enumerate(SIZES)
    ]:
        print(f"{name:14}" + "".join(f"{right[chosen].mean():14.1%}" for right in columns.values()))


def main(words: list[str] | None = None) -> int:
    """The command line: 0 done, 2 a mistake in what was given."""
    parser = argparse.ArgumentParser(prog="python -m lessons.train vit", description=__doc__.splitlines()[0])
    loop.add_options(parser, WEIGHTS, steps=600, every=50, run="runs/vit")
    arguments = parser.parse_args(words)
    try:
        if arguments.evaluate:
            evaluate(Path(arguments.evaluate), arguments.device)
        else:
            train(arguments)
    except (UserError, OSError) as error:
        print(f"lessons.train.vit.trainer: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
