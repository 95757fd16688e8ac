"""Mistakes in attention, MLP and blocks: whatever is built of `minimodels.blocks` can have them."""

from collections.abc import Callable

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Change, each, put
from minimodels.blocks import MLP, Attention, Block

# ---------------------------------------------------------------- attention


class SpelledOut(Attention):
    """Attention as a person writes it, with every step open to mistakes. As it stands it is right."""

    heads_in_qkv = "b n (three heads d) -> three b heads n d"
    heads_out = "b heads n d -> b n (heads d)"
    softmax_over = -1

    def scale(self) -> float:
        return self.head_dim**-0.5

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = rearrange(self.qkv(x), self.heads_in_qkv, three=3, heads=self.num_heads)
        scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * self.scale()
        if self.causal:
            scores = scores.masked_fill(self.hidden(x), float("-inf"))
        weights = self.normalise(scores)
        mixed = einsum(weights, v, "b heads i j, b heads j d -> b heads i d")
        return self.out_proj(rearrange(mixed, self.heads_out))

    def normalise(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=self.softmax_over)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)


class NoScale(SpelledOut):
    def scale(self) -> float:
        return 1.0


class ScaleByWidth(SpelledOut):
    def scale(self) -> float:
        return (self.head_dim * self.num_heads) ** -0.5


class SoftmaxOverQueries(SpelledOut):
    softmax_over = -2


class HeadsInterleaved(SpelledOut):
    heads_in_qkv = "b n (three d heads) -> three b heads n d"


class HeadsMergedWrong(SpelledOut):
    heads_out = "b heads n d -> b n (d heads)"


class SeesItselfNot(SpelledOut):
    def hidden(self, x: Tensor) -> Tensor:
        hidden = super().hidden(x).logical_or(torch.eye(x.shape[1], dtype=torch.bool, device=x.device))
        hidden[0, 0] = False  # the first token has nobody else
        return hidden


class MaskedToZero(SpelledOut):
    """Masked scores become 0, which is not "never"."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = rearrange(self.qkv(x), self.heads_in_qkv, three=3, heads=self.num_heads)
        scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * self.scale()
        weights = scores.masked_fill(self.hidden(x), 0.0).softmax(dim=-1)
        mixed = einsum(weights, v, "b heads i j, b heads j d -> b heads i d")
        return self.out_proj(rearrange(mixed, self.heads_out))


# ---------------------------------------------------------------- blocks


class NoResidual(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class Parallel(Block):
    """Attention and MLP beside each other, as in other models."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x + self.attn(self.norm1(x), mask) + self.mlp(self.norm2(x))


class ResidualOfTheNormed(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.norm1(x)
        x = x + self.attn(x, mask)
        return x + self.mlp(self.norm2(x))


# ---------------------------------------------------------------- ways to change what is built of blocks


def epsilon(value: float) -> Change:
    """Another eps in every LayerNorm."""
    return each(nn.LayerNorm, put("eps", value))


def activation(make: Callable[[], nn.Module]) -> Change:
    """Another bend in every MLP."""
    return each(MLP, lambda mlp: setattr(mlp, "activation", make()))


def tanh_gelu() -> nn.Module:
    """The approximate GELU, for `activation`."""
    return nn.GELU(approximate="tanh")


def reorder_qkv(order: str) -> Change:
    """q, k and v stacked in another order, as a wrong row of the table would."""

    def change(attention: Attention) -> None:
        parts = dict(zip("qkv", attention.qkv.weight.data.chunk(3)))
        biases = dict(zip("qkv", attention.qkv.bias.data.chunk(3)))
        attention.qkv.weight.data = torch.cat([parts[letter] for letter in order])
        attention.qkv.bias.data = torch.cat([biases[letter] for letter in order])

    return each(Attention, change)
