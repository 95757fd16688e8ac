"""Tiny CLIP learns from Sticker World: `python -m lessons.train clip`.

Radford et al. 2021, section 2.3 and figure 3: in a batch of pictures and captions each picture must find its own
caption among all others, and each caption its own picture. Nothing else is taught: no classes, no boxes.
With `--captions web` they are short and noisy, as beside pictures on the web: lesson 3.7 holds that CLIP against CLIPS.
"""

import math
import time
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.stickers import exams, two_captions
from lessons.stickers.exams import Pairs
from lessons.stickers.splits import TRAIN, VAL
from lessons.train import loop, measures
from minimodels.clip import CLIP
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.words.byte_pair import BytePairTokenizer, learn_merges

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


LEARNED_FROM = range(4000)  # the training scenes from whose captions a vocabulary is learned
ABOUT = "right: what a person would say of a scene (the book's weights); web: short and noisy, for lesson 3.7"


@cache
def learn_tokenizer(captions_of: str = "right") -> BytePairTokenizer:
    """A byte-pair vocabulary from the captions of the first 4,000 training scenes."""
    scenes, captions = exams.training_captions(LEARNED_FROM, single_share=0.1)
    if captions_of == "web":
        dice = (two_captions.words_dice(TRAIN, number) for number in LEARNED_FROM)
        captions = [two_captions.web_caption(one, scene) for one, scene in zip(dice, scenes)]
    return BytePairTokenizer(learn_merges(captions, num_merges=600), CONTEXT)


def single_share(step: int, steps: int) -> float:
    """Mostly scenes of several stickers, which have more words a picture; half of them single ones in the last 40 %."""
    return 0.1 if step < 0.6 * steps else 0.5


def contrastive_loss(logits: Tensor) -> Tensor:
    """Mean of two cross entropies over the logits (B, B): pictures choose captions and the reverse (figure 3)."""
    answers = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)) / 2


class Trainer(loop.Trainer):
    """Scenes with captions, each seen once."""

    STEPS, BATCH, EVERY = 4800, 256, 200
    OPTIONS = {"captions": {"choices": ("right", "web"), "default": "right", "help": ABOUT}}

    def __init__(self, settings: loop.Settings, captions: str = "right"):
        super().__init__(settings)
        self.captions = captions
        self.about |= {} if captions == "right" else {"captions": captions}
        self.prepare()
        self.model.preprocess = self.preprocess
        self.image_tower = self.faster(self.model.image_tower)
        self.optimizers = loop.make_optimizers(self.model, matrix_rate=MATRIX_RATE, other_rate=OTHER_RATE)

    def prepare(self) -> None:
        """The model, and how it reads pictures and texts."""
        self.preprocess: Any = CLIPPreprocess(NUMBERS["image_size"])
        self.tokenizer: Any = learn_tokenizer(self.captions)
        self.numbers = NUMBERS | {"vocab_size": self.tokenizer.vocab_size}
        self.model: Any = CLIP(**self.numbers).to(self.device)

    def views(self, number: int, scenes: Pairs) -> list[list[str]]:
        """What is said of the scenes: one caption each; a subclass may have several."""
        if self.captions == "right":
            return [scenes.captions]
        dice = (two_captions.words_dice(TRAIN, one) for one in self.scenes(number))
        return [[two_captions.web_caption(one, scene) for one, scene in zip(dice, scenes.scenes)]]

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes that no other step has seen."""
        scenes = exams.training_scenes(self.scenes(number), single_share(number, self.steps))
        image = measures.normalized(scenes.images, self.preprocess).to(self.device)  # (B, 3, 64, 64)
        views = [self.tokenizer(texts, truncate=True) for texts in self.views(number, scenes)]
        views = [self.model.trim(ids).to(self.device) for ids in views]  # (B, longest) each
        factor = loop.set_rate(self.optimizers, number, self.steps)
        attention, autocast = loop.fast_step(self.device)
        with attention:
            with autocast:
                pieces = image.split(PIECE if self.device.type == "cpu" else self.batch)
                image_embedding = torch.cat([self.image_tower(piece) for piece in pieces])  # (B, E)
                text_embeddings = [self.model.encode_text(ids) for ids in views]  # (B, E) each
            all_logits = [self.model.logits(image_embedding.float(), texts.float()) for texts in text_embeddings]
            loss = torch.stack([contrastive_loss(logits) for logits in all_logits]).mean()
            loss.backward()
        loop.update(self.model, self.optimizers)
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(100))  # section 2.5: keeps training stable
        used = time.process_time()  # of this process since it began, all threads together
        return {"loss": loss.item(), "rate": factor, "scale": self.model.logit_scale.exp().item(), "cpu_seconds": used}

    def validate(self) -> dict[str, float]:
        """Zero-shot accuracy and recall at 1 of 500 on the validation split."""
        singles, pairs = exams.singles(VAL, rounds=2), exams.captioned(VAL, 500)
        right = measures.zero_shot(self.model, self.tokenizer, singles)
        ranks = measures.retrieval_ranks(self.model, self.tokenizer, pairs)
        return {"zero_shot": right.float().mean().item(), "recall_at_1": (ranks < 1).float().mean().item()}

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        return {
            "system": "clip",
            "class": "CLIP",
            "arguments": self.numbers,
            "preprocess": preprocess_to_dict(self.preprocess),
            "tokenizer": self.describe_words(),
            "trained_on": "Sticker World, split train",
        }

    def describe_words(self) -> dict[str, Any]:
        """The tokenizer's part of it."""
        return {"kind": "bpe", "merges": self.tokenizer.merges, "context_length": CONTEXT}
