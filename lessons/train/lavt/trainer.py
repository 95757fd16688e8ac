"""Tiny LAVT learns from referring expressions: `python -m lessons.train lavt`.

Yang et al. 2022, section 4.2, from nothing: neither Swin nor BERT has seen anything before. As in the paper: cross
entropy with class weights, AdamW, a learning rate that falls as a polynomial of power 0.9. Not as in the paper: Muon
takes the matrices, which learns several times faster; Dice loss is added, as the released code's page advises; each
scene is asked twice, so that the words alone can tell the two masks apart.
"""

from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lessons.stickers.splits import VAL
from lessons.train import loop, measures
from lessons.train.lavt import data as lavt_data
from lessons.train.lavt import report
from minimodels.errors import UserError
from minimodels.lavt import LAVT
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.stored import models
from minimodels.terminal.parser import whole_number
from minimodels.words.word_piece import WordPieceTokenizer

SIZE = 64  # pixels a side that the model reads
MODEL: dict[str, Any] = {
    "backbone": {
        "class": "SwinBackbone",
        "arguments": {
            "patch_size": 4,
            "embed_dim": 44,
            "depths": (2, 4, 2),
            "num_heads": (2, 4, 8),
            "window_size": (8, 8, 4),  # maps have 16, 8 and 4 positions a side: the last two stages see everything
            "mlp_ratio": 2.0,
        },
    },
    "bert": {
        "class": "BERT",
        "arguments": {
            "vocab_size": WordPieceTokenizer(lavt_data.vocabulary()).vocab_size,
            "max_length": lavt_data.LONGEST,
            "embed_dim": 96,
            "depth": 2,
            "num_heads": 2,
            "mlp_dim": 192,
        },
    },
    "fusion_heads": (1, 1, 1),
    "decoder_dim": 48,
}
MATRIX_RATE, OTHER_RATE = 0.004, 0.0015  # Muon's learning rate for the matrices, AdamW's for the rest
TABLE_RATE = 0.005  # AdamW's for the tables of relative positions: at the others' rate "left of" stays unheard for long
PHASES = ((0.345, lavt_data.EARLY), (0.69, lavt_data.LATE), (1.0, lavt_data.LAST))  # up to which share of the steps
CLASS_WEIGHTS = (0.9, 1.1)  # of background and referent in the cross entropy, as the paper's code has them
NOT_MUON = ("patch_proj", "token_embedding", "pos", "token_type", "bias_table", "head")


def segmentation_loss(
    logits: Float[Tensor, "batch 2 height width"], mask: Bool[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """4 x cross entropy with class weights + 0.5 x Dice loss, mean over masks: small masks count too."""
    cross = F.cross_entropy(logits, mask.long(), weight=logits.new_tensor(CLASS_WEIGHTS))
    wanted, share = mask.float(), logits.softmax(dim=1)[:, 1]
    overlap = 2 * (share * wanted).sum(dim=(-2, -1)) + 1
    dice = 1 - overlap / (share.sum(dim=(-2, -1)) + wanted.sum(dim=(-2, -1)) + 1)
    return 4 * cross + 0.5 * dice.mean()


def make_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices that map channels to channels, AdamW for everything else.

    As in the paper's code, vectors and the tables of relative positions are not decayed.
    """
    named = dict(model.named_parameters())
    matrices = [p for name, p in named.items() if p.ndim == 2 and not any(part in name for part in NOT_MUON)]
    tables = [p for name, p in named.items() if "bias_table" in name]
    others = [p for p in named.values() if not any(p is taken for taken in matrices + tables)]
    decayed = {"params": [p for p in others if p.ndim > 2], "weight_decay": 0.01}
    plain = {"params": [p for p in others if p.ndim <= 2], "weight_decay": 0.0}
    of_tables = {"params": tables, "weight_decay": 0.0, "lr": TABLE_RATE}
    optimizers = [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([decayed, plain, of_tables], lr=OTHER_RATE, betas=(0.9, 0.98)),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return optimizers


@torch.no_grad()
def point_tables(model: LAVT, strength: float = 1.5) -> None:
    """Give the heads of each block in the late stages a direction to begin with: left, right, up, down, and again.

    A head's bias is + strength for what lies on its side and - strength for what lies on the other. Tables of small
    random numbers take tens of thousands of pictures to find "left of" by themselves.
    """
    for stage in model.backbone.stages:
        for block in stage.blocks:
            table, side = block.attn.relative_bias_table, block.window_size
            if table.shape[1] % 4 == 0:
                away = (torch.arange(2 * side - 1, device=table.device) - side + 1.0).clamp(-1, 1)  # query minus key
                across, down = away.repeat(2 * side - 1), away.repeat_interleave(2 * side - 1)
                sides = torch.stack([across, -across, down, -down], dim=1)  # (rows, 4)
                table += strength * sides.repeat(1, table.shape[1] // 4)


def set_rate(optimizers: list[torch.optim.Optimizer], step: int, steps: int, rate: float = 1.0) -> float:
    """A short warm-up, then (1 - step / steps) to the power of 0.9, times `rate`: set it for this step, return it."""
    factor = rate * min(1.0, (step + 1) / max(1, min(200, steps // 25))) * (1 - step / steps) ** 0.9
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * factor
    return factor


def plain_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,  # never so in Swin, BERT and PWAM
    scale: float | None = None,
) -> Tensor:
    """`F.scaled_dot_product_attention` spelled out, without its care for rows that see nothing: on a CPU a third of the
    step is saved, for torch's own is slow backwards at these sizes."""
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-1, -2)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask.to(scores.dtype)
    return scores.softmax(dim=-1, dtype=scores.dtype) @ v


def fast_step(device: torch.device):
    """Contexts for one step, as `loop.fast_step`, with attention spelled out on a CPU."""
    attention, autocast = loop.fast_step(device)
    if device.type == "cpu":
        attention = mock.patch.object(F, "scaled_dot_product_attention", plain_attention)
    return attention, autocast


class Trainer(loop.Trainer):
    """Scenes with two sentences each, seen once."""

    STEPS, BATCH, EVERY = 4000, 64, 300
    OPTIONS = {
        "start": {"type": Path, "metavar": "WEIGHTS", "help": "begin with the weights of an earlier run"},
        "first_scene": {
            "type": whole_number,
            "default": 0,
            "metavar": "N",
            "help": "begin with this scene, for one that an earlier run has not seen",
        },
        "first_phase": {
            "type": int,
            "default": 0,
            "choices": range(len(PHASES)),
            "help": "leave out the phases before this one",
        },
        "rate": {"type": loop.positive, "default": 1.0, "help": "factor on the learning rates"},
    }

    def __init__(
        self,
        settings: loop.Settings,
        start: Path | None = None,
        first_scene: int = 0,
        first_phase: int = 0,
        rate: float = 1.0,
    ):
        super().__init__(settings)
        if self.batch % 2:
            raise UserError(f"--batch {self.batch}: a scene is asked two sentences; give an even number")
        self.about |= {"first_scene": first_scene, "first_phase": first_phase, "rate": rate}
        self.first_scene, self.rate = first_scene, rate
        self.skipped = PHASES[first_phase - 1][0] if first_phase else 0.0  # of the phases, as a share of the steps
        self.tokenizer = WordPieceTokenizer(lavt_data.vocabulary(), context_length=lavt_data.LONGEST)
        self.model: LAVT = models.make("LAVT", MODEL).to(self.device)  # type: ignore[assignment]
        if start:
            self.about["start"] = f"{start.parent.name}/{start.name}"
            self.model.load_state_dict(models.open_file(start).state_dict())
        else:
            point_tables(self.model)
        self.model.tokenize = self.tokenizer  # type: ignore[assignment]
        first = self.model.backbone.stages[0]  # knows nothing of the words yet: runs once a scene, not once a sentence
        self.blocks, first.forward = first.forward, self.once_a_scene  # type: ignore[method-assign]
        if self.compiled:
            self.model.compile()
        self.optimizers = make_optimizers(self.model)

    def step(self, number: int) -> dict[str, float]:
        """One step on scenes that no other step has seen, each with two sentences."""
        pictures, texts, masks = lavt_data.batch(self.scenes(number), self.mix(number))
        image = measures.normalized(pictures).to(self.device).repeat_interleave(2, dim=0)  # (B, 3, 64, 64)
        ids, real = (part.to(self.device) for part in self.tokenizer(texts, context_length=lavt_data.LONGEST))
        factor = set_rate(self.optimizers, number, self.steps, self.rate)
        attention, autocast = fast_step(self.device)
        with attention:
            with autocast:
                logits = self.model(image, ids, real)
            loss = segmentation_loss(logits.float(), torch.from_numpy(masks).to(self.device))
            loss.backward()
        loop.update(self.model, self.optimizers)
        return {"loss": loss.item(), "rate": factor}

    def scenes(self, number: int) -> range:
        """Half as many as sentences, from the run's first scene on."""
        count = self.batch // 2
        first = self.first + self.first_scene + number * count
        return range(first, first + count)

    def mix(self, number: int) -> lavt_data.Mix:
        """What is asked in this step."""
        along = self.skipped + (1 - self.skipped) * number / self.steps
        return next(mix for until, mix in PHASES if along < until)

    def once_a_scene(self, x: Tensor) -> Tensor:
        """The first stage on every second row, then each row twice: in training, two rows in turn are one scene."""
        return self.blocks(x[::2]).repeat_interleave(2, dim=0) if self.model.training else self.blocks(x)

    def validate(self) -> dict[str, float]:
        """On the validation split: class mIoU, the share of right choices by kind, the share of absent left empty."""
        return report.brief(self.model, VAL, 150)

    def describe(self) -> dict[str, Any]:
        """What the file of the weights says of itself."""
        norm = CLIPPreprocess(SIZE)
        return {
            "system": "lavt",
            "class": "LAVT",
            "arguments": MODEL,
            "preprocess": preprocess_to_dict(TensorPreprocess(SIZE, mean=norm.mean, std=norm.std)),
            "tokenizer": {
                "kind": "wordpiece",
                "vocabulary": self.tokenizer.vocabulary,
                "context_length": self.tokenizer.context_length,
            },
            "trained_on": "Sticker World, split train",
        }
