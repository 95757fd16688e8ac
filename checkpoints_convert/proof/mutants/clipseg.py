"""Wrong CLIPSegs: layers read, FiLM, decoder blocks, resized positions, condition."""

from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from checkpoints_convert.proof.mutants import Change, Mutant, StandIn, each, inside, methods, put, swap
from checkpoints_convert.proof.mutants import blocks as wrong
from checkpoints_convert.proof.mutants.bert import pre_norm
from checkpoints_convert.proof.references import Trial
from checkpoints_convert.proof.references.clipseg import TINY
from minimodels import clip as clip_file
from minimodels.blocks import Attention, QuickGELU
from minimodels.clipseg import CLIPSeg, Decoder

# ---------------------------------------------------------------- the decoder


def wrong_decoder(*, film: str = "before", last: int = 1, order: int = -1, mul_first: bool = True) -> Change:
    """The decoder spelled out, with one thing wrong."""

    def forward(decoder: Any, activations: list[Tensor], prompt: Tensor) -> Tensor:
        prompt = rearrange(prompt, "b 1 e -> 1 b e")
        mul, add = (decoder.film_mul, decoder.film_add) if mul_first else (decoder.film_add, decoder.film_mul)
        x: Any = 0
        for step, activation in enumerate(activations[::order]):
            x = decoder.reduces[step](activation) + x
            if step == 0 and film == "before":
                x = mul(prompt)[0][:, None] * x + add(prompt)[0][:, None]
            x = decoder.blocks[step](x)
            if step == 0 and film == "after":
                x = mul(prompt)[0][:, None] * x + add(prompt)[0][:, None]
        tokens = x[:, 1:] if last else x[:, :-1]
        return decoder.head(rearrange(tokens, "b (h w) d -> b d h w", h=round(tokens.shape[1] ** 0.5)))

    return methods(Decoder, forward=forward)


def in_the_decoder(change: Change) -> Change:
    """A change of every block of the decoder."""
    return inside("decoder.blocks", change)


def fewer_heads(attention: Any) -> None:
    """A third of the heads, three times as wide."""
    attention.num_heads, attention.head_dim = attention.num_heads // 3, attention.head_dim * 3


# ---------------------------------------------------------------- positions and condition


def resized(mode: str, antialias: bool) -> StandIn:
    """Positions resized in another way."""

    def resize(pos: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], **asked: Any) -> Tensor:
        picture = rearrange(pos, "(h w) d -> 1 d h w", h=grid[0])
        picture = F.interpolate(picture, size=new_grid, mode=mode, align_corners=False, antialias=antialias)
        return rearrange(picture, "1 d h w -> (h w) d")

    return StandIn(clip_file, "resize_positions", resize)


def normalised(model: Any, activations: list[Tensor], prompt: Tensor) -> Tensor:
    """The prompt's length set to one."""
    return CLIPSeg.decode(model, activations, F.normalize(prompt, dim=-1))


TRANSFORMERS = ("CLIPSeg", "transformers")
SHRINKING = Trial({"vision": {**TINY["vision"], "image_size": 40}}, image_size=(28, 28))
CHANGES: dict[str, Change | StandIn] = {
    "layers counted from 1": put("extract_layers", (1, 2, 3)),
    "the embeddings counted as layer 0": put("extract_layers", (0, 1, 3)),
    "FiLM after the block": wrong_decoder(film="after"),
    "no FiLM": wrong_decoder(film="never"),
    "FiLM's factor and offset swapped": wrong_decoder(mul_first=False),
    "shallow to deep": wrong_decoder(order=1),
    "class token kept": wrong_decoder(last=0),
    "pre-norm decoder": in_the_decoder(pre_norm),
    "QuickGELU in the decoder": in_the_decoder(wrong.activation(QuickGELU)),
    "eps 1e-6 in the decoder": in_the_decoder(wrong.epsilon(1e-6)),
    "other heads in the decoder": in_the_decoder(each(Attention, fewer_heads)),
    "norms swapped in the decoder": in_the_decoder(swap("norm1", "norm2")),
    "bilinear positions": resized("bilinear", antialias=False),
    "antialiased positions": resized("bicubic", antialias=True),
    "normalised condition": methods(CLIPSeg, decode=normalised),
}
MUTANTS = [Mutant(name, change, TRANSFORMERS, SHRINKING) for name, change in CHANGES.items()]
