"""DINOv2: a Vision Transformer that taught itself, whose patch features know what lies where (lesson 2.5).

Oquab et al. 2024, "DINOv2: Learning Robust Visual Features without Supervision", section 4; Touvron et al. 2021, "Going
deeper with Image Transformers", section 2 (LayerScale); Shazeer 2020, "GLU Variants Improve Transformer" (SwiGLU);
Darcet et al. 2024, "Vision Transformers Need Registers", section 2.2.
Follows the released weights: patches of 14 pixels, LayerNorm epsilon 1e-6, exact GELU, and two ways to resize the
positions, one for the models without registers and one for those with (`position_offset`, `antialias`).

Notation: B batch    N patches    R registers    T = 1 + R + N tokens    D embed_dim    H W pixels    h w patch grid
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from minimodels.blocks import Block, split_patches
from minimodels.errors import UserError

NORM_EPS = 1e-6


class SwiGLU(nn.Module):
    """An MLP with a gate: one half of the hidden numbers, bent by SiLU, multiplies the other (Shazeer 2020, eq. 6).

    Rows 0 .. mlp_dim-1 of the first layer make the gate, the rest the values. ViT-g alone has it, with `mlp_dim` 4096.
    """

    def __init__(self, embed_dim: int, mlp_dim: int):
        super().__init__()
        self.gate_value = nn.Linear(embed_dim, 2 * mlp_dim)
        self.out_proj = nn.Linear(mlp_dim, embed_dim)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        gate, value = self.gate_value(x).chunk(2, dim=-1)  # (B, T, mlp_dim) each
        return self.out_proj(F.silu(gate) * value)


class ScaledBlock(Block):
    """The pre-norm block with LayerScale: a learned factor a channel for what each branch adds (Touvron et al., eq. 4).

    Args:
        embed_dim, num_heads, mlp_dim: see `Block`.
        swiglu: the MLP is a `SwiGLU`.
        scale_init: the factors before training; small ones (1e-5) start a deep model as the identity.
    """

    def __init__(self, embed_dim: int, num_heads: int, mlp_dim: int, *, swiglu: bool = False, scale_init: float = 1.0):
        super().__init__(embed_dim, num_heads, mlp_dim, norm_eps=NORM_EPS)
        if swiglu:
            self.mlp = SwiGLU(embed_dim, mlp_dim)  # type: ignore[assignment]
        self.scale1 = nn.Parameter(torch.full((embed_dim,), scale_init))
        self.scale2 = nn.Parameter(torch.full((embed_dim,), scale_init))

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], mask: Bool[Tensor, "#batch #heads #tokens tokens"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        x = x + self.scale1 * self.attn(self.norm1(x), mask)
        return x + self.scale2 * self.mlp(self.norm2(x))


class Features(NamedTuple):
    """What DINOv2 knows about a batch of pictures. The first three are after the last norm, `prenorm` is before it."""

    class_token: Float[Tensor, "batch dim"]  # (B, D): one vector a picture
    registers: Float[Tensor, "batch registers dim"]  # (B, R, D): scratch paper, of no use afterwards
    patches: Float[Tensor, "batch patches dim"]  # (B, N, D): one vector a patch, row by row
    prenorm: Float[Tensor, "batch tokens dim"]  # (B, 1 + R + N, D): all of them, class token first


class DINOv2(nn.Module):
    """DINOv2's Vision Transformer, without the heads it was trained with.

    Args:
        image_size: side in pixels that the position table was trained for (518 in all releases). Any picture whose
            sides are multiples of `patch_size` is read; where its grid is another one, the table is resized.
        patch_size, embed_dim, depth, num_heads, mlp_dim: see `ViT`.
        swiglu: the MLPs are `SwiGLU` (ViT-g).
        num_registers: R, learned tokens between class token and patches, without positions (0 or 4).
        class_position: the position table's first row belongs to the class token. In timm's files with registers it
            has no row: there the class token has its position inside.
        position_offset: where positions are resized, (cells + offset) / trained cells is the factor handed on
            (0.1: the models without registers); 0 hands on the size alone (those with).
        antialias: smooth when positions shrink (the models with registers).
        scale_init: see `ScaledBlock`.

    Raises:
        UserError: `image_size` is not a multiple of `patch_size`.
    """

    def __init__(
        self,
        *,
        image_size: int = 518,
        patch_size: int = 14,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_dim: int = 4096,
        swiglu: bool = False,
        num_registers: int = 0,
        class_position: bool = True,
        position_offset: float = 0.1,
        antialias: bool = False,
        scale_init: float = 1.0,
    ):
        super().__init__()
        if image_size % patch_size:
            raise UserError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        self.patch_size, self.side = patch_size, image_size // patch_size
        self.num_registers, self.class_position = num_registers, class_position
        self.position_offset, self.antialias = position_offset, antialias
        self.patch_proj = nn.Linear(3 * patch_size * patch_size, embed_dim)
        self.class_token = nn.Parameter(torch.randn(embed_dim) * 0.02)
        self.mask_token = nn.Parameter(torch.zeros(embed_dim))
        self.register_tokens = nn.Parameter(torch.randn(num_registers, embed_dim) * 0.02) if num_registers else None
        self.pos = nn.Parameter(torch.randn(int(class_position) + self.side**2, embed_dim) * 0.02)
        self.blocks = nn.ModuleList(
            ScaledBlock(embed_dim, num_heads, mlp_dim, swiglu=swiglu, scale_init=scale_init) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=NORM_EPS)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """The class token after the last norm (B, D): one vector for each normalised picture."""
        return self.encode(image).class_token

    def encode(
        self, image: Float[Tensor, "batch 3 height width"], masked: Bool[Tensor, "batch patches"] | None = None
    ) -> Features:
        """Everything by name, of pictures normalised with ImageNet's mean and spread.

        Args:
            image: (B, 3, H, W), both sides multiples of `patch_size`.
            masked: patches that the model must do without: they are replaced by the mask token (training only).

        Raises:
            UserError: a picture that cannot be cut into patches.
        """
        x = self.embed(image, masked)
        for block in self.blocks:
            x = block(x)
        return Features(*self.split(self.norm(x)), prenorm=x)

    def patch_features(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch patches dim"]:
        """What Matcher compares: the patch tokens before the last norm (B, N, D), row by row, not normalised."""
        x = self.embed(image)
        for block in self.blocks:
            x = block(x)
        return self.split(x)[2]

    def intermediate(
        self, image: Float[Tensor, "batch 3 height width"], layers: int | Sequence[int] = 1, *, norm: bool = True
    ) -> list[Float[Tensor, "batch tokens dim"]]:
        """All tokens (B, T, D) after some of the blocks; `split` takes them apart, `to_grid` lays patches out.

        Args:
            layers: the last so many blocks, or block numbers counted from 0. They come in ascending order whatever the
                list's order. Blocks behind the last of them are not run.
            norm: put the model's last norm on each, as the official code does unless told otherwise.

        Raises:
            UserError: there is no such block.
        """
        depth = len(self.blocks)
        wanted = set(range(depth - layers, depth) if isinstance(layers, int) else layers)
        if not wanted or min(wanted) < 0 or max(wanted) >= depth:
            raise UserError(f"layers {layers}: this model has {depth} blocks, numbered 0 to {depth - 1}")
        x, found = self.embed(image), []
        for number, block in enumerate(self.blocks[: max(wanted) + 1]):
            x = block(x)
            if number in wanted:
                found.append(self.norm(x) if norm else x)
        return found

    def split(
        self, tokens: Float[Tensor, "batch tokens dim"]
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch registers dim"], Float[Tensor, "batch patches dim"]]:
        """Class token (B, D), registers (B, R, D) and patches (B, N, D) out of all tokens."""
        first = 1 + self.num_registers
        return tokens[:, 0], tokens[:, 1:first], tokens[:, first:]

    def embed(
        self, image: Float[Tensor, "batch 3 height width"], masked: Bool[Tensor, "batch patches"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Tokens before the first block (B, T, D).

        Registers come in after the positions were added: they have none (Darcet et al. 2024).
        """
        x = self.patch_proj(split_patches(image, self.patch_size))  # (B, N, D)
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)  # (B, 1 + N, D)
        x = x + self.positions((image.shape[-2] // self.patch_size, image.shape[-1] // self.patch_size))
        if self.register_tokens is None:
            return x
        registers = self.register_tokens.expand(len(x), -1, -1)  # (B, R, D)
        return torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)  # (B, 1 + R + N, D)

    def positions(self, grid: tuple[int, int]) -> Float[Tensor, "positions dim"]:
        """Position rows (1 + N, D) for a grid of h x w patches, the class token's first.

        A grid that is not the trained one gets a resized table, also where the number of patches is the same (9 x 4 for
        6 x 6). Bicubic, align_corners False, at least in float32.
        """
        first = int(self.class_position)
        class_row, table = self.pos[:first], self.pos[first:]
        if grid != (self.side, self.side):
            picture = rearrange(table, "(h w) d -> 1 d h w", h=self.side)
            picture = picture.to(torch.promote_types(table.dtype, torch.float32))
            options: dict = {"mode": "bicubic", "align_corners": False, "antialias": self.antialias}
            if self.position_offset:
                factors = tuple((cells + self.position_offset) / self.side for cells in grid)
                picture = F.interpolate(picture, scale_factor=factors, **options)  # sampled at 1 / factor, not by size
            else:
                picture = F.interpolate(picture, size=grid, **options)
            table = rearrange(picture.to(table.dtype), "1 d h w -> (h w) d")
        if not first:
            class_row = torch.zeros_like(table[:1])
        return torch.cat([class_row, table])


def to_grid(
    patches: Float[Tensor, "batch patches dim"], grid: tuple[int, int]
) -> Float[Tensor, "batch dim rows columns"]:
    """Patch tokens as a small picture (B, D, h, w)."""
    return rearrange(patches, "b (h w) d -> b d h w", h=grid[0], w=grid[1])
