"""Wrong SAMs: relative bias, windows, the two-way block, prompts and their places."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Change, Mutant, StandIn, each, inside, methods, put
from checkpoints_convert.proof.mutants import blocks as wrong
from checkpoints_convert.proof.references import Trial
from minimodels import sam
from minimodels.sam import ChannelNorm, PromptEncoder, RelativeAttention, TwoWayBlock

BIAS, ROWS, WINDOWS = sam.relative_bias, sam.relative_rows, sam.split_windows

# ---------------------------------------------------------------- image encoder


def bias_scaled(q: Tensor, rel_h: Tensor, rel_w: Tensor, grid: Any) -> Tensor:
    """The relative bias asks the scaled query."""
    return BIAS(q * q.shape[-1] ** -0.5, rel_h, rel_w, grid)


def bias_swapped(q: Tensor, rel_h: Tensor, rel_w: Tensor, grid: Any) -> Tensor:
    """Rows and columns swapped."""
    return BIAS(q, rel_w, rel_h, grid)


def rows_reversed(table: Tensor, q_size: int, k_size: int) -> Tensor:
    """Offsets from query to key."""
    return ROWS(table.flip(0), q_size, k_size)


def windows_of_zeros(x: Tensor, size: int, fill: Tensor) -> Tensor:
    """Padding of zeros behind the projection, not before it."""
    return WINDOWS(x, size, torch.zeros_like(fill))


def masked_padding(attention: Any, x: Tensor) -> Tensor:
    """Padded tokens are not seen: their keys get a score of minus infinity."""
    (q, k, v), grid = attention.split_heads(x)
    bias = sam.relative_bias(q, attention.rel_h, attention.rel_w, grid)
    if attention.window is not None:
        there = sam.split_windows(torch.ones_like(x[..., :1]), attention.window, x.new_zeros(1))
        bias = bias.masked_fill(rearrange(there, "b h w 1 -> b 1 1 (h w)") == 0, -1e9)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    joined = rearrange(mixed, "b heads (h w) d -> b h w (heads d)", h=grid[0])
    size = (x.shape[1], x.shape[2])
    return attention.out_proj(joined if attention.window is None else sam.join_windows(joined, size))


def other_windows(attention: Any) -> None:
    """Windows where the look is global, and the reverse."""
    attention.window = 3 if attention.window is None else None


# ---------------------------------------------------------------- the two-way block


def two_way(
    *,
    places_in_values: bool = False,
    places_at_first: bool = False,
    residual_at_first: bool = False,
    mlp_first: bool = False,
    image_first: bool = False,
) -> Change:
    """The two-way block spelled out, with one thing wrong."""

    def attend(attn: Any, q: Tensor, k: Tensor, v: Tensor, places_q: Tensor, places_k: Tensor) -> Tensor:
        return attn(q + places_q, k + places_k, v + places_k if places_in_values else v)

    def look_back(block: Any, tokens: Tensor, image: Tensor, prompt: Tensor, positions: Tensor) -> Tensor:
        return block.norm4(image + attend(block.image_to_token, image, tokens, tokens, positions, prompt))

    def forward(block: Any, tokens: Tensor, image: Tensor, prompt: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        places = 0 * prompt if block.first and not places_at_first else prompt
        answer = attend(block.self_attn, tokens, tokens, tokens, places, places)
        tokens = block.norm1(answer if block.first and not residual_at_first else tokens + answer)
        if mlp_first:
            tokens = block.norm3(tokens + block.mlp(tokens))
        if image_first:
            image = look_back(block, tokens, image, prompt, positions)
        tokens = block.norm2(tokens + attend(block.token_to_image, tokens, image, image, prompt, positions))
        if not mlp_first:
            tokens = block.norm3(tokens + block.mlp(tokens))
        return tokens, image if image_first else look_back(block, tokens, image, prompt, positions)

    return methods(TwoWayBlock, forward=forward)


# ---------------------------------------------------------------- prompts


def points_wrongly(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Change:
    """`PromptEncoder.embed_points` handed changed points and labels."""

    def embed_points(encoder: Any, points: Tensor, labels: Tensor) -> Tensor:
        return PromptEncoder.embed_points(encoder, *change(points, labels))

    return methods(PromptEncoder, embed_points=embed_points)


def no_padding_point(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The point that stands for no box is left out."""
    boxes = bool((labels > sam.POSITIVE).any())
    return (points, labels) if boxes else (points[:, :, :-1], labels[:, :, :-1])


def padding_beside_boxes(
    encoder: Any, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """A padding point although there is a box."""
    tokens, dense = PromptEncoder.forward(encoder, points, labels, boxes, mask)
    if boxes is not None:
        tokens = torch.cat([encoder.padding_embed.expand(*tokens.shape[:2], 1, -1), tokens], dim=2)
    return tokens, dense


def padding_with_a_place(encoder: Any, points: Tensor, labels: Tensor) -> Tensor:
    """The padding point has a place too."""
    tokens = PromptEncoder.embed_points(encoder, points, labels)
    places = encoder.encode_positions((points + 0.5) / encoder.side)
    return tokens + places * (labels == sam.PADDING)[..., None]


def cosines_first(encoder: Any, places: Tensor) -> Tensor:
    """Cosines before sines."""
    angles = 2 * math.pi * (2 * places.to(encoder.frequencies.dtype) - 1) @ encoder.frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def from_zero_to_one(encoder: Any, places: Tensor) -> Tensor:
    """Places from 0 to 1, not from -1 to 1."""
    angles = 2 * math.pi * places.to(encoder.frequencies.dtype) @ encoder.frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


CHANGES: dict[str, Change | StandIn] = {
    "relative bias asks the scaled query": StandIn(sam, "relative_bias", bias_scaled),
    "tables of rows and columns swapped": StandIn(sam, "relative_bias", bias_swapped),
    "offsets from query to key": StandIn(sam, "relative_rows", rows_reversed),
    "padding of zeros behind the projection": StandIn(sam, "split_windows", windows_of_zeros),
    "padded tokens not seen": methods(RelativeAttention, forward=masked_padding),
    "global blocks with windows": each(RelativeAttention, other_windows),
    "encoder eps 1e-5": inside("image_encoder.blocks", wrong.epsilon(1e-5)),
    "channel norm eps 1e-5": each(ChannelNorm, put("eps", 1e-5)),
    # The official code has 1e-5 there, transformers 1e-6.
    "the other library's decoder eps": inside("mask_decoder.blocks", wrong.epsilon(1e-5)),
    "tanh GELU": inside("image_encoder.blocks", wrong.activation(wrong.tanh_gelu)),
    "residual in the first self-attention": two_way(residual_at_first=True),
    "places in the first self-attention": two_way(places_at_first=True),
    "places added to values": two_way(places_in_values=True),
    "MLP before the look at the image": two_way(mlp_first=True),
    "the image looks first": two_way(image_first=True),
    "half a pixel missing": points_wrongly(lambda points, labels: (points - 0.5, labels)),
    "x and y swapped": points_wrongly(lambda points, labels: (points.flip(-1), labels)),
    "labels swapped": points_wrongly(lambda points, labels: (points, torch.where(labels >= 0, labels ^ 1, labels))),
    "no padding point": points_wrongly(no_padding_point),
    "a padding point beside boxes": methods(PromptEncoder, forward=padding_beside_boxes),
    "a padding point with a place": methods(PromptEncoder, embed_points=padding_with_a_place),
    "cosines first": methods(PromptEncoder, encode_positions=cosines_first),
    "places from 0 to 1": methods(PromptEncoder, encode_positions=from_zero_to_one),
    "sigmoid on the IoU head": inside("mask_decoder.iou_mlp", lambda mlp: mlp.append(nn.Sigmoid())),
}
TRANSFORMERS = ("SAM", "transformers")
OTHER_DRAW = Trial(seed=2)
MUTANTS = [Mutant(name, change, TRANSFORMERS, OTHER_DRAW) for name, change in CHANGES.items()]
