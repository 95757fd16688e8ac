"""A CLIP of two ready encoders learns from Sticker World: `python -m lessons.train projected_clip`.

Pictures are read by the book's tiny ViT, which knows the stickers' names already; texts by a tiny DistilBERT that knows
nothing yet, for the book has none. The soft targets are those of github.com/moein-shariatnia/OpenAI-CLIP; its README's
way of training, both encoders learning on, is the book's too. `--freeze` and `--loss` are for lesson 3.13.
"""

from functools import cache
from typing import Any

import torch

from lessons.stickers import exams
from lessons.stickers.splits import VAL
from lessons.train import loop, measures
from minimodels.bert import BERT
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.projected_clip import ProjectedCLIP, clip_loss, soft_target_loss
from minimodels.stored import models
from minimodels.vit import ViT
from minimodels.words.word_piece import learn_words
from minimodels.words.word_rows import WordRows

READY = "tiny-vit"  # the image encoder, as it was trained to name stickers
CONTEXT = 40
TEXT = {
    "max_length": CONTEXT,
    "embed_dim": 128,
    "depth": 2,
    "num_heads": 2,
    "mlp_dim": 512,
    "token_types": 0,
}
MATRIX_RATE, OTHER_RATE = 0.002, 0.001  # Muon's learning rate for the blocks' matrices, AdamW's for the rest
SINGLES = 0.25  # of the scenes show one sticker
PIECE = 32  # pictures encoded at a time on a CPU: their activations then stay in its cache
LOSSES = {"soft": soft_target_loss, "clip": clip_loss}
FREEZE = ("none", "image", "text", "both")


@cache
def learn_tokenizer() -> WordRows:
    """The words of the captions of the first 4,000 training scenes; a row is [CLS] words [SEP], then padding."""
    _, captions = exams.training_captions(range(4000), single_share=0.1)
    return WordRows(learn_words(captions), context_length=CONTEXT, frame="plain")


def ready_encoder() -> tuple[ViT, dict[str, Any]]:
    """tiny-vit without its head, and the numbers it was built with."""
    ready = models.load(READY)
    told = ready.about["arguments"]
    numbers = told | {"num_classes": 0, "image_size": tuple(told["image_size"])}
    encoder = ViT(**numbers)
    encoder.load_state_dict({name: tensor for name, tensor in ready.state_dict().items() if "head." not in name})
    return encoder, numbers


class Trainer(loop.Trainer):
    """Scenes with captions, each seen once."""

    STEPS, BATCH, EVERY = 1800, 128, 150
    OPTIONS = {
        "loss": {"choices": LOSSES, "default": "soft", "help": "soft targets (default) or CLIP's own loss"},
        "freeze": {"choices": FREEZE, "default": "none", "help": "encoders that learn nothing more (default none)"},
    }

    def __init__(self, settings: loop.Settings, loss: str = "soft", freeze: str = "none"):
        super().__init__(settings)
        self.about |= {"loss": loss, "freeze": freeze}
        self.loss, self.tokenizer = LOSSES[loss], learn_tokenizer()
        image_encoder, image_numbers = ready_encoder()
        text_numbers = TEXT | {"vocab_size": self.tokenizer.vocab_size}
        self.parts = {
            "image_encoder": {"class": "ViT", "arguments": image_numbers},
            "text_encoder": {"class": "BERT", "arguments": text_numbers},
        }
        self.model = ProjectedCLIP(image_encoder, BERT(**text_numbers), pad=self.tokenizer.pad).to(self.device)
        for side, tower in (("image", self.model.image_tower), ("text", self.model.text_tower)):
            tower.encoder.requires_grad_(freeze not in (side, "both"))
        self.image_tower = self.faster(self.model.image_tower)
        self.optimizers = loop.make_optimizers(self.model, matrix_rate=MATRIX_RATE, other_rate=OTHER_RATE)

    def step(self, number: int) -> dict[str, float]:
        """One step of training on scenes that no other step has seen."""
        scenes = exams.training_scenes(self.scenes(number), single_share=SINGLES)
        image = measures.normalized(scenes.images).to(self.device)  # (B, 3, 64, 64)
        ids = self.model.trim(self.tokenizer(scenes.captions)).to(self.device)  # (B, longest)
        factor = loop.set_rate(self.optimizers, number, self.steps)
        torch.manual_seed(self.first + number)  # of the heads' dropout
        attention, autocast = loop.fast_step(self.device)
        with attention:
            with autocast:
                pieces = image.split(PIECE if self.device.type == "cpu" else self.batch)
                image_embedding = torch.cat([self.image_tower(piece) for piece in pieces])  # (B, E)
                text_embedding = self.model.encode_text(ids)  # (B, E)
            loss = self.loss(image_embedding.float(), text_embedding.float())
            loss.backward()
        loop.update(self.model, self.optimizers)
        return {"loss": loss.item(), "rate": factor}

    def validate(self) -> dict[str, float]:
        """Recall at 1 of 500 on the validation split, and zero-shot accuracy."""
        singles, pairs = exams.singles(VAL, rounds=2), exams.captioned(VAL, 500)
        right = measures.zero_shot(self.model, self.tokenizer, singles)
        ranks = measures.retrieval_ranks(self.model, self.tokenizer, pairs)
        return {"recall_at_1": (ranks < 1).float().mean().item(), "zero_shot": right.float().mean().item()}

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        return {
            "system": "distilbert_clip",
            "class": "ProjectedCLIP",
            "arguments": self.parts,
            "preprocess": preprocess_to_dict(CLIPPreprocess(64)),
            "tokenizer": {
                "kind": "word_rows",
                "vocabulary": self.tokenizer.words.vocabulary,
                "context_length": CONTEXT,
                "frame": "plain",
            },
            "trained_on": "Sticker World, split train",
        }
