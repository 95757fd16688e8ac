"""Train tiny CLIP on Sticker World, and measure it: `python -m lessons.train clip [--evaluate]`.

Radford et al. 2021, section 2.3 and figure 3: in a batch of pictures and captions each picture must find its own
caption among all others, and each caption its own picture. Nothing else is taught: no classes, no boxes.
"""

import argparse
import math
import sys
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.stickers import exams
from lessons.stickers.splits import VAL
from lessons.train import loop, measures
from minimodels.clip import CLIP, trim
from minimodels.errors import UserError
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.stored import embedded
from minimodels.words.byte_pair import BytePairTokenizer, learn_merges

WEIGHTS = embedded.file("tiny-clip")
CONTEXT = 32
NUMBERS = {
    "embed_dim": 128,
    "image_size": 64,
    "patch_size": 8,
    "vision_width": 128,
    "vision_depth": 4,
    "vision_heads": 2,
    "text_width": 128,
    "text_depth": 2,
    "text_heads": 2,
    "context_length": CONTEXT,
    "quick_gelu": False,
}
MATRIX_RATE, OTHER_RATE = 0.008, 0.004  # Muon's learning rate for the blocks' matrices, AdamW's for the rest
PIECE = 32  # pictures encoded at a time on a CPU: their activations then stay in its cache


@cache
def learn_tokenizer() -> BytePairTokenizer:
    """A byte-pair vocabulary from the captions of the first 4,000 training scenes."""
    _, captions = exams.training_captions(range(4000), single_share=0.1)
    return BytePairTokenizer(learn_merges(captions, num_merges=600), CONTEXT)


def single_share(step: int, steps: int) -> float:
    """Mostly scenes of several stickers, which have more words a picture; half of them single ones in the last 40 %."""
    return 0.1 if step < 0.6 * steps else 0.5


def contrastive_loss(logits: Tensor) -> Tensor:
    """Mean of two cross entropies over the logits (B, B): pictures choose captions and the reverse (figure 3)."""
    answers = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)) / 2


class Trainer:
    """Model, optimizers and data of one run; `step(number)` depends on nothing but the state and the number."""

    def __init__(self, steps: int, batch: int, device: str = "cpu", compiled: bool = False):
        self.about = {"steps": steps, "batch": batch}
        self.steps, self.batch, self.device = steps, batch, torch.device(device)
        self.tokenizer = learn_tokenizer()
        torch.manual_seed(0)
        self.numbers = NUMBERS | {"vocab_size": self.tokenizer.vocab_size}
        self.model = CLIP(**self.numbers).to(self.device)
        self.image_tower = torch.compile(self.model.image_tower) if compiled else self.model.image_tower
        self.optimizers = loop.make_optimizers(self.model, matrix_rate=MATRIX_RATE, other_rate=OTHER_RATE)

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes number * batch ... (number + 1) * batch - 1."""
        numbers = range(number * self.batch, (number + 1) * self.batch)
        scenes = exams.training_scenes(numbers, single_share(number, self.steps))
        image = measures.normalized(scenes.images).to(self.device)  # (B, 3, 64, 64)
        ids = trim(self.tokenizer(scenes.captions)).to(self.device)  # (B, longest)
        factor = loop.set_rate(self.optimizers, number, self.steps)
        attention, autocast = loop.fast_step(self.device)
        with attention:
            with autocast:
                pieces = image.split(PIECE if self.device.type == "cpu" else self.batch)
                image_embedding = torch.cat([self.image_tower(piece) for piece in pieces])  # (B, E)
                text_embedding = self.model.encode_text(ids)  # (B, E)
            loss = contrastive_loss(self.model.logits(image_embedding.float(), text_embedding.float()))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(100))  # section 2.5: keeps training stable
        return {"loss": loss.item(), "rate": factor, "scale": self.model.logit_scale.exp().item()}

    def validate(self) -> dict[str, float]:
        """Zero-shot accuracy and recall at 1 of 500 on the validation split."""
        self.model.eval()
        singles, pairs = exams.singles(VAL, rounds=2), exams.captioned(VAL, 500)
        right = measures.zero_shot(self.model, self.tokenizer, singles)
        ranks = measures.retrieval_ranks(self.model, self.tokenizer, pairs)
        self.model.train()
        return {"zero_shot": right.float().mean().item(), "recall_at_1": (ranks < 1).float().mean().item()}


def train(arguments: argparse.Namespace) -> None:
    """Run or resume; a checkpoint and a line in the log every `--every` steps; at the end the weights in fp16."""
    torch.set_num_threads(arguments.threads)
    run = Path(arguments.run)
    trainer = Trainer(arguments.steps, arguments.batch, arguments.device, arguments.compile)
    loop.run(trainer, run, arguments.every, arguments.minutes)
    path = Path(arguments.out or run / "model.safetensors")
    about = {
        "system": "clip",
        "class": "CLIP",
        "arguments": trainer.numbers,
        "preprocess": preprocess_to_dict(CLIPPreprocess(NUMBERS["image_size"])),
        "tokenizer": {"kind": "bpe", "merges": trainer.tokenizer.merges, "context_length": CONTEXT},
        "trained_on": "Sticker World, split train",
    }
    loop.publish(path, trainer, run, about)


def main(words: list[str] | None = None) -> int:
    """The command line: 0 done, 1 a bar was missed, 2 a mistake in what was given."""
    parser = argparse.ArgumentParser(prog="python -m lessons.train clip", description=__doc__.splitlines()[0])
    loop.add_options(parser, WEIGHTS, steps=4800, every=200, run="runs/clip")
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --evaluate: write the figures there too")
    arguments = parser.parse_args(words)
    try:
        if arguments.evaluate:
            from lessons.train.clip.report import report

            return 0 if report(Path(arguments.evaluate), arguments.device, arguments.json) else 1
        train(arguments)
    except (UserError, OSError) as error:
        print(f"lessons.train.clip.trainer: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
