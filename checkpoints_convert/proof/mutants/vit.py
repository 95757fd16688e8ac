"""Wrong ViTs; those with mistakes in attention and blocks stand for every model that is built of them."""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Change, Mutant, become, clear, each, forget, methods, put, swap
from checkpoints_convert.proof.mutants import blocks as wrong
from checkpoints_convert.proof.references import Trial
from minimodels.blocks import Block, PostNormBlock, QuickGELU, resize_positions
from minimodels.vit import ViT


class MeanWithClassToken(ViT):
    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.pool_norm(self.encode(image).mean(dim=1)))


class LastTokenPooled(ViT):
    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.pool_norm(self.encode(image)[:, -1]))


class ClassTokenWithoutPosition(ViT):
    def positions(self, grid: tuple[int, int]) -> Tensor:
        return torch.cat([torch.zeros_like(self.pos[:1]), super().positions(grid)[1:]])


class ClassRowInTheGrid(ViT):
    """The class token's row taken for a patch: the table shifts by one."""

    def positions(self, grid: tuple[int, int]) -> Tensor:
        return torch.roll(super().positions(grid), 1, dims=0)


class GridTransposed(ViT):
    """Width taken for height when positions are resized."""

    def positions(self, grid: tuple[int, int]) -> Tensor:
        pos = self.pos[1:].float()
        picture = rearrange(pos, "(h w) d -> 1 d h w", h=self.grid[1], w=self.grid[0])
        picture = F.interpolate(picture, size=grid, mode="bicubic", align_corners=False, antialias=self.antialias)
        return torch.cat([self.pos[:1], rearrange(picture, "1 d h w -> (h w) d").to(self.pos)])


class CornersAligned(ViT):
    def positions(self, grid: tuple[int, int]) -> Tensor:
        picture = rearrange(self.pos[1:].float(), "(h w) d -> 1 d h w", h=self.grid[0], w=self.grid[1])
        picture = F.interpolate(picture, size=grid, mode="bicubic", align_corners=True, antialias=self.antialias)
        return torch.cat([self.pos[:1], rearrange(picture, "1 d h w -> (h w) d").to(self.pos)])


class Bilinear(ViT):
    def positions(self, grid: tuple[int, int]) -> Tensor:
        picture = rearrange(self.pos[1:].float(), "(h w) d -> 1 d h w", h=self.grid[0], w=self.grid[1])
        picture = F.interpolate(picture, size=grid, mode="bilinear", align_corners=False, antialias=self.antialias)
        return torch.cat([self.pos[:1], rearrange(picture, "1 d h w -> (h w) d").to(self.pos)])


class PositionsInFloat64(ViT):
    """More exact than timm, and so not equal to it."""

    def positions(self, grid: tuple[int, int]) -> Tensor:
        table = resize_positions(self.pos[1:], self.grid, grid, antialias=self.antialias)
        return torch.cat([self.pos[:1], table])


def cut(pattern: str) -> Change:
    """Patches read in another order."""

    def embed(model: Any, image: Tensor) -> Tensor:
        size = model.patch_size
        x = model.patch_proj(rearrange(image, pattern, ph=size, pw=size))
        x = torch.cat([model.class_token.expand(len(x), 1, -1), x], dim=1)
        return x + model.positions((image.shape[-2] // size, image.shape[-1] // size))

    return methods(ViT, embed=embed)


def last_block_first(model: Any) -> None:
    """The blocks in reverse."""
    model.blocks = nn.ModuleList(reversed(model.blocks))


TIMM, TRANSFORMERS = ("ViT", "timm"), ("ViT", "transformers")
MEAN = Trial({"global_pool": "avg", "fc_norm": False})
MEAN_AND_NORM = Trial({"global_pool": "avg"})
SMALLER = Trial({"dynamic_img_size": True}, image_size=(8, 16))
NOT_SMOOTHED = Trial({"image_size": 32}, image_size=(8, 16))
MUTANTS = [
    Mutant("no scale", become(wrong.NoScale), TIMM),
    Mutant("scaled by the width", become(wrong.ScaleByWidth), TIMM),
    Mutant("softmax over the queries", become(wrong.SoftmaxOverQueries), TIMM),
    Mutant("heads interleaved", become(wrong.HeadsInterleaved), TIMM),
    Mutant("heads merged in the wrong order", become(wrong.HeadsMergedWrong), TIMM),
    Mutant("q and k swapped", wrong.reorder_qkv("kqv"), TRANSFORMERS),
    Mutant("k and v swapped", wrong.reorder_qkv("qvk"), TRANSFORMERS),
    Mutant("norms swapped", each(Block, swap("norm1", "norm2")), TIMM),
    Mutant("post-norm for pre-norm", become(PostNormBlock), TIMM),
    Mutant("no residual", become(wrong.NoResidual), TIMM),
    Mutant("attention and MLP in parallel", become(wrong.Parallel), TIMM),
    Mutant("residual of the normed", become(wrong.ResidualOfTheNormed), TIMM),
    Mutant("blocks in reverse", last_block_first, TIMM),
    Mutant("eps 1e-5 for 1e-6", wrong.epsilon(1e-5), TIMM),
    Mutant("eps 1e-12 for 1e-6", wrong.epsilon(1e-12), TIMM),
    Mutant("eps 1e-6 for 1e-12", wrong.epsilon(1e-6), TRANSFORMERS),
    Mutant("tanh GELU", wrong.activation(wrong.tanh_gelu), TIMM),
    Mutant("QuickGELU for GELU", wrong.activation(QuickGELU), TIMM),
    Mutant("mean with the class token", become(MeanWithClassToken), TIMM, MEAN),
    Mutant("last token for class token", become(LastTokenPooled), TIMM),
    Mutant("no last norm", forget("norm"), TIMM),
    Mutant("norm before the mean, not behind", swap("norm", "pool_norm"), TIMM, MEAN_AND_NORM),
    Mutant("patches row, column, channel", cut("b c (h ph) (w pw) -> b (h w) (ph pw c)"), TIMM),
    Mutant("patches column by column", cut("b c (h ph) (w pw) -> b (w h) (c ph pw)"), TIMM),
    Mutant("class token without position", become(ClassTokenWithoutPosition), TIMM),
    Mutant("class row taken for a patch", become(ClassRowInTheGrid), TIMM),
    Mutant("patch bias forgotten", clear("patch_proj.bias"), TIMM),
    Mutant("no antialias", put("antialias", False), TIMM, SMALLER),
    Mutant("antialias", put("antialias", True), TRANSFORMERS, NOT_SMOOTHED),
    Mutant("corners aligned", become(CornersAligned), TIMM, SMALLER),
    Mutant("bilinear positions", become(Bilinear), TIMM, SMALLER),
    Mutant("grid transposed", become(GridTransposed), TIMM, SMALLER),
    Mutant("positions resized in float64", become(PositionsInFloat64), TIMM, SMALLER),
]
