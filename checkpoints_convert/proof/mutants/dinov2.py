"""Wrong DINOv2s: resized positions, LayerScale, SwiGLU, registers, features.

Libraries resize positions in ways of their own, so official cases tell these from the right model.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from checkpoints_convert.proof.mutants import Change, Mutant, become, each, methods, swap
from checkpoints_convert.proof.mutants import blocks as wrong
from minimodels.blocks import Block
from minimodels.dinov2 import DINOv2, Features, ScaledBlock, SwiGLU

# ---------------------------------------------------------------- positions


def positions_with(
    *,
    offset: float | None = None,
    antialias: bool | None = None,
    mode: str = "bicubic",
    corners: bool = False,
    transposed: bool = False,
    by_count: bool = False,
) -> Change:
    """The position table as a person resizes it; with nothing wrong it is the official one."""

    def positions(model: Any, grid: tuple[int, int]) -> Tensor:
        same = grid == (model.side, model.side)
        if same or (by_count and grid[0] * grid[1] == model.side**2):
            return model.pos
        table = rearrange(model.pos[1:], "(h w) d -> 1 d h w", h=model.side)
        table = table.mT if transposed else table
        added = model.position_offset if offset is None else offset
        smooth = model.antialias if antialias is None else antialias
        how: dict[str, Any] = {"mode": mode, "antialias": smooth, "align_corners": corners}
        if added:
            how["scale_factor"] = [(cells + added) / model.side for cells in grid]
        else:
            how["size"] = grid
        resized = F.interpolate(table, **how)
        return torch.cat([model.pos[:1], rearrange(resized, "1 d h w -> (h w) d")])

    return methods(DINOv2, positions=positions)


def swapped_factors(model: Any, grid: tuple[int, int]) -> Tensor:
    """Height and width swapped in the factors, and the result turned back so that its shape fits."""
    rows = DINOv2.positions(model, grid[::-1])
    return torch.cat([rows[:1], rearrange(rows[1:], "(w h) d -> (h w) d", h=grid[0])])


# ---------------------------------------------------------------- blocks, registers, features


class Unscaled(ScaledBlock):
    """LayerScale forgotten."""

    forward = Block.forward


class ScaledBefore(ScaledBlock):
    """LayerScale before the branch."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.scale1 * self.norm1(x), mask)
        return x + self.mlp(self.scale2 * self.norm2(x))


class ScaledSum(ScaledBlock):
    """LayerScale on the stream too."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.scale1 * (x + self.attn(self.norm1(x), mask))
        return self.scale2 * (x + self.mlp(self.norm2(x)))


class HalvesSwapped(SwiGLU):
    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.gate_value(x).chunk(2, dim=-1)
        return self.out_proj(F.silu(gate) * value)


class RowsInterleaved(SwiGLU):
    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gate_value(x).unflatten(-1, (-1, 2)).unbind(-1)
        return self.out_proj(F.silu(gate) * value)


class GELUGate(SwiGLU):
    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gate_value(x).chunk(2, dim=-1)
        return self.out_proj(F.gelu(gate) * value)


class RegistersWithPositions(DINOv2):
    """Registers put in before the positions are added: they take the first patches' positions."""

    def embed(self, image: Tensor, masked: Tensor | None = None) -> Tensor:
        x = super().embed(image, masked)
        grid = (image.shape[-2] // self.patch_size, image.shape[-1] // self.patch_size)
        first = 1 + self.num_registers
        return torch.cat([x[:, :1], x[:, 1:first] + self.positions(grid)[1:first], x[:, first:]], dim=1)


class RegistersLast(DINOv2):
    """Registers behind the patches: attention does not care, whoever takes the tokens apart does."""

    def embed(self, image: Tensor, masked: Tensor | None = None) -> Tensor:
        x, first = super().embed(image, masked), 1 + self.num_registers
        return torch.cat([x[:, :1], x[:, first:], x[:, 1:first]], dim=1)


class PostNormFeatures(DINOv2):
    """The normed patches handed out as `prenorm`."""

    def encode(self, image: Tensor, masked: Tensor | None = None) -> Features:
        found = super().encode(image, masked)
        return found._replace(prenorm=self.norm(found.prenorm))

    def patch_features(self, image: Tensor) -> Tensor:
        return self.encode(image).patches


class UnnormedFeatures(DINOv2):
    def encode(self, image: Tensor, masked: Tensor | None = None) -> Features:
        found = super().encode(image, masked)
        return found._replace(patches=self.split(found.prenorm)[2])


class OneTokenStripped(DINOv2):
    """The class token stripped, the registers not."""

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return tokens[:, 0], tokens[:, 1 : 1 + self.num_registers], tokens[:, 1 : len(tokens[0]) - self.num_registers]


class LayersInTheListsOrder(DINOv2):
    def intermediate(self, image: Tensor, layers: Any = 1, *, norm: bool = True) -> list[Tensor]:
        found = super().intermediate(image, layers, norm=norm)
        return found[::-1] if isinstance(layers, int) and layers > 1 else found


class LayersFromOne(DINOv2):
    """The blocks counted from 1: one before the asked one."""

    def intermediate(self, image: Tensor, layers: Any = 1, *, norm: bool = True) -> list[Tensor]:
        earlier = layers if isinstance(layers, int) else [max(layer - 1, 0) for layer in layers]
        return super().intermediate(image, earlier, norm=norm)


DOWN, UP, NATIVE, SAME = ("tiny",), ("tiny_up",), ("tiny_native",), ("tiny_same_count",)
REGISTERS, GATED = ("tiny_reg",), ("tiny_swiglu",)
MUTANTS = [
    Mutant("no position offset", positions_with(offset=0.0), cases=DOWN),
    Mutant("no position offset, up", positions_with(offset=0.0), cases=UP),
    Mutant("position offset with registers", positions_with(offset=0.1), cases=REGISTERS),
    Mutant("another offset", positions_with(offset=0.01), cases=DOWN),
    Mutant("antialias without registers", positions_with(antialias=True), cases=DOWN),
    Mutant("no antialias with registers", positions_with(antialias=False), cases=REGISTERS),
    Mutant("bilinear positions", positions_with(mode="bilinear"), cases=DOWN),
    Mutant("corners aligned", positions_with(corners=True), cases=DOWN),
    Mutant("grid transposed", positions_with(transposed=True), cases=DOWN),
    Mutant("height and width swapped", methods(DINOv2, positions=swapped_factors), cases=DOWN),
    Mutant("same count, not resized", positions_with(by_count=True), cases=SAME),
    Mutant("LayerScale forgotten", become(Unscaled), cases=NATIVE),
    Mutant("LayerScale before the branch", become(ScaledBefore), cases=NATIVE),
    Mutant("LayerScale on the sum", become(ScaledSum), cases=NATIVE),
    Mutant("the two LayerScales swapped", each(ScaledBlock, swap("scale1", "scale2")), cases=NATIVE),
    Mutant("norms swapped", each(ScaledBlock, swap("norm1", "norm2")), cases=NATIVE),
    Mutant("SwiGLU halves swapped", become(HalvesSwapped), cases=GATED),
    Mutant("SwiGLU rows interleaved", become(RowsInterleaved), cases=GATED),
    Mutant("GELU for SiLU", become(GELUGate), cases=GATED),
    Mutant("eps 1e-5", wrong.epsilon(1e-5), cases=NATIVE),
    Mutant("eps 1e-12", wrong.epsilon(1e-12), cases=NATIVE),
    Mutant("tanh GELU", wrong.activation(wrong.tanh_gelu), cases=NATIVE),
    Mutant("no attention scale", become(wrong.NoScale), cases=NATIVE),
    Mutant("heads interleaved", become(wrong.HeadsInterleaved), cases=NATIVE),
    Mutant("registers with positions", become(RegistersWithPositions), cases=REGISTERS),
    Mutant("registers behind the patches", become(RegistersLast), cases=REGISTERS),
    Mutant("registers not stripped", become(OneTokenStripped), cases=REGISTERS),
    Mutant("post-norm features", become(PostNormFeatures), cases=NATIVE),
    Mutant("patches without the last norm", become(UnnormedFeatures), cases=NATIVE),
    Mutant("layers in descending order", become(LayersInTheListsOrder), cases=NATIVE),
    Mutant("layers counted from 1", become(LayersFromOne), cases=NATIVE),
]
