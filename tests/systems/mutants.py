"""Wrong models, each wrong in one thing that a person gets wrong and shapes forgive. Every one must fail parity.

A mutant changes a converted model in place. `MUTANTS` says which twins it is tried on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from minimodels import blocks as blocks_file
from minimodels.blocks import MLP, Attention, Block, PostNormBlock, QuickGELU
from minimodels.clip import CLIP, ImageTower, TextTower
from minimodels.clip_resnet import AttentionPool, Bottleneck, ResNetTower
from minimodels.vit import ViT

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


# ---------------------------------------------------------------- whole models


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
        table = blocks_file.resize_positions(self.pos[1:], self.grid, grid, antialias=self.antialias)
        return torch.cat([self.pos[:1], table])


class PixelsBeforeChannels(ViT):
    """Patches read as the picture lies in a file: row, column, channel."""

    def embed(self, image: Tensor) -> Tensor:
        size = self.patch_size
        patches = rearrange(image, "b c (h ph) (w pw) -> b (h w) (ph pw c)", ph=size, pw=size)
        x = self.patch_proj(patches)
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)
        return x + self.positions((image.shape[-2] // size, image.shape[-1] // size))


class PatchesColumnByColumn(ViT):
    def embed(self, image: Tensor) -> Tensor:
        size = self.patch_size
        patches = rearrange(image, "b c (h ph) (w pw) -> b (w h) (c ph pw)", ph=size, pw=size)
        x = self.patch_proj(patches)
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)
        return x + self.positions((image.shape[-2] // size, image.shape[-1] // size))


class NormsBeforePooling(ImageTower):
    """norm_post forgotten."""

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.encode(image)[:, 0])


class MeanPooledTower(ImageTower):
    def forward(self, image: Tensor) -> Tensor:
        return self.proj(self.norm_post(self.encode(image).mean(dim=1)))


class EndOffByOne(TextTower):
    def forward(self, ids: Tensor) -> Tensor:
        end = ids.argmax(dim=-1) - 1
        return self.proj(self.encode(ids)[torch.arange(len(ids), device=ids.device), end])


class LastEnd(TextTower):
    """The last end-of-text, where the first one counts."""

    def forward(self, ids: Tensor) -> Tensor:
        end = ids.shape[1] - 1 - ids.flip(1).argmax(dim=-1)
        return self.proj(self.encode(ids)[torch.arange(len(ids), device=ids.device), end])


class LastPlace(TextTower):
    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.encode(ids)[:, -1])


class CutTooEarly(TextTower):
    """Cut at the first text's end and not at the longest's."""

    def forward(self, ids: Tensor) -> Tensor:
        end = ids.argmax(dim=-1)
        tokens = self.encode(ids[:, : int(end.min()) + 1])
        return self.proj(tokens[torch.arange(len(ids), device=ids.device), end.clamp(max=tokens.shape[1] - 1)])


class ScaleNotExponentiated(CLIP):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return self.logit_scale * (F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T)


class DotProducts(CLIP):
    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return self.logit_scale.exp() * (image @ text.T)


class NormalisedEmbeddings(CLIP):
    def encode_image(self, image: Tensor) -> Tensor:
        return F.normalize(super().encode_image(image), dim=-1)


class NoMeanToken(AttentionPool):
    """The first position asks, and not the mean of all."""

    def forward(self, features: Tensor) -> Tensor:
        tokens = rearrange(features, "b c h w -> b (h w) c")
        tokens = torch.cat([tokens[:, :1], tokens], dim=1) + self.pos
        return self.answer(tokens, tokens[:, :1])

    def answer(self, tokens: Tensor, asking: Tensor) -> Tensor:
        q, k, v = self.q_proj(asking), self.k_proj(tokens), self.v_proj(tokens)
        q, k, v = (rearrange(t, "b n (heads d) -> b heads n d", heads=self.num_heads) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(rearrange(mixed, "b heads 1 d -> b (heads d)"))


class MeanAsksOthersOnly(NoMeanToken):
    """The mean does not look at itself."""

    def forward(self, features: Tensor) -> Tensor:
        tokens = rearrange(features, "b c h w -> b (h w) c")
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.pos
        return self.answer(tokens[:, 1:], tokens[:, :1])


class StridedConvolution(Bottleneck):
    """The stride in the 3x3 convolution, as in a plain ResNet, and not in an average pool."""

    def forward(self, x: Tensor) -> Tensor:
        stride = self.pool.kernel_size if isinstance(self.pool, nn.AvgPool2d) else 1
        branch = F.relu(self.conv1(x))
        branch = F.conv2d(branch, self.conv2.conv.weight, stride=stride, padding=1)
        branch = self.conv3(F.relu(self.conv2.norm(branch)))
        x = self.shortcut(self.pool(x)) if self.shortcut is not None else x
        return F.relu(x + branch)


class PoolBeforeConvolution(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.conv2(self.pool(F.relu(self.conv1(x)))))
        branch = self.conv3(branch)
        x = self.shortcut(self.pool(x)) if self.shortcut is not None else x
        return F.relu(x + branch)


class ShortcutSubsampled(Bottleneck):
    """Every other pixel on the shortcut, and not the mean of four."""

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv3(self.pool(F.relu(self.conv2(F.relu(self.conv1(x))))))
        step = self.pool.kernel_size if isinstance(self.pool, nn.AvgPool2d) else 1
        x = self.shortcut(x[:, :, ::step, ::step]) if self.shortcut is not None else x
        return F.relu(x + branch)


class MaxPooledStem(ResNetTower):
    def stem_features(self, image: Tensor) -> Tensor:
        x = image
        for layer in self.stem:
            x = F.relu(layer(x))
        return F.max_pool2d(x, 2)


# ---------------------------------------------------------------- how a converted model is changed


Change = Callable[[Any], Any]


def become(cls: type[nn.Module]) -> Change:
    """Every module of the class that `cls` extends becomes a `cls`; weights stay."""
    base = next(parent for parent in cls.__mro__[1:] if parent.__module__.startswith("minimodels"))

    def change(model: nn.Module) -> None:
        changed = [module for module in model.modules() if type(module) is base]
        assert changed, f"nothing to change into {cls.__name__}"
        for module in changed:
            module.__class__ = cls

    return change


def each(cls: type[nn.Module], change: Change) -> Change:
    """Do it to every module of a class."""

    def change_all(model: nn.Module) -> None:
        changed = [module for module in model.modules() if isinstance(module, cls)]
        assert changed, f"there is no {cls.__name__}"
        for module in changed:
            change(module)

    return change_all


def epsilon(value: float) -> Change:
    return each(nn.LayerNorm, lambda norm: setattr(norm, "eps", value))


def activation(make: Callable[[], nn.Module]) -> Change:
    return each(MLP, lambda mlp: setattr(mlp, "activation", make()))


def swap_norms(block: Block) -> None:
    block.norm1, block.norm2 = block.norm2, block.norm1


def reorder_qkv(order: str) -> Change:
    """q, k and v stacked in another order, as a wrong row of the table would."""

    def change(attention: Attention) -> None:
        parts = dict(zip("qkv", attention.qkv.weight.data.chunk(3)))
        biases = dict(zip("qkv", attention.qkv.bias.data.chunk(3)))
        attention.qkv.weight.data = torch.cat([parts[letter] for letter in order])
        attention.qkv.bias.data = torch.cat([biases[letter] for letter in order])

    return each(Attention, change)


def forget(path: str) -> Change:
    """Leave a module out."""

    def change(model: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, nn.Identity())

    return change


def clear(path: str) -> Change:
    """A parameter that was never loaded: zeros."""
    return lambda model: nn.init.zeros_(model.get_parameter(path))


def last_block_first(model: nn.Module) -> None:
    model.blocks = nn.ModuleList(reversed(model.blocks))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Mutant:
    """What is wrong, on which twins, at which sizes."""

    name: str
    twins: tuple[str, str]
    change: Change
    sizes: dict[str, Any] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None


TIMM, HF = ("ViT", "timm"), ("ViT", "transformers")
OPEN_CLIP, HF_CLIP, RESNET = ("CLIP ViT", "open_clip"), ("CLIP ViT", "transformers"), ("CLIP ResNet", "open_clip")
MEAN = {"global_pool": "avg", "fc_norm": False}
DYNAMIC = {"dynamic_img_size": True}
SMALLER = (8, 16)

MUTANTS = [
    Mutant("no scale", TIMM, become(NoScale)),
    Mutant("scaled by the width", TIMM, become(ScaleByWidth)),
    Mutant("softmax over the queries", TIMM, become(SoftmaxOverQueries)),
    Mutant("heads interleaved", TIMM, become(HeadsInterleaved)),
    Mutant("heads merged in the wrong order", TIMM, become(HeadsMergedWrong)),
    Mutant("q and k swapped", HF, reorder_qkv("kqv")),
    Mutant("k and v swapped", HF, reorder_qkv("qvk")),
    Mutant("norms swapped", TIMM, each(Block, swap_norms)),
    Mutant("post-norm for pre-norm", TIMM, become(PostNormBlock)),
    Mutant("no residual", TIMM, become(NoResidual)),
    Mutant("attention and MLP in parallel", TIMM, become(Parallel)),
    Mutant("residual of the normed", TIMM, become(ResidualOfTheNormed)),
    Mutant("blocks in reverse", TIMM, last_block_first),
    Mutant("eps 1e-5 for 1e-6", TIMM, epsilon(1e-5)),
    Mutant("eps 1e-12 for 1e-6", TIMM, epsilon(1e-12)),
    Mutant("eps 1e-6 for 1e-12", HF, epsilon(1e-6)),
    Mutant("eps 1e-6 for 1e-5", OPEN_CLIP, epsilon(1e-6)),
    Mutant("tanh GELU", TIMM, activation(lambda: nn.GELU(approximate="tanh"))),
    Mutant("QuickGELU for GELU", TIMM, activation(QuickGELU)),
    Mutant("GELU for QuickGELU", OPEN_CLIP, activation(nn.GELU)),
    Mutant("mean with the class token", TIMM, become(MeanWithClassToken), MEAN),
    Mutant("last token for class token", TIMM, become(LastTokenPooled)),
    Mutant("no last norm", TIMM, forget("norm")),
    Mutant("norm before the mean, not behind", TIMM, lambda m: swap_last_norms(m), {"global_pool": "avg"}),
    Mutant("patches row, column, channel", TIMM, become(PixelsBeforeChannels)),
    Mutant("patches column by column", TIMM, become(PatchesColumnByColumn)),
    Mutant("class token without position", TIMM, become(ClassTokenWithoutPosition)),
    Mutant("class row taken for a patch", TIMM, become(ClassRowInTheGrid)),
    Mutant("patch bias forgotten", TIMM, clear("patch_proj.bias")),
    Mutant("no antialias", TIMM, lambda m: setattr(m, "antialias", False), DYNAMIC, SMALLER),
    Mutant("antialias", HF, lambda m: setattr(m, "antialias", True), {"image_size": 32}, SMALLER),
    Mutant("corners aligned", TIMM, become(CornersAligned), DYNAMIC, SMALLER),
    Mutant("bilinear positions", TIMM, become(Bilinear), DYNAMIC, SMALLER),
    Mutant("grid transposed", TIMM, become(GridTransposed), DYNAMIC, SMALLER),
    Mutant("positions resized in float64", TIMM, become(PositionsInFloat64), DYNAMIC, SMALLER),
    Mutant("no norm before the blocks", OPEN_CLIP, forget("image_tower.norm_pre")),
    Mutant("no norm behind the blocks", OPEN_CLIP, become(NormsBeforePooling)),
    Mutant("mean for class token", OPEN_CLIP, become(MeanPooledTower)),
    Mutant("end-of-text off by one", OPEN_CLIP, become(EndOffByOne)),
    Mutant("last end-of-text", OPEN_CLIP, become(LastEnd)),
    Mutant("last place for end-of-text", HF_CLIP, become(LastPlace)),
    Mutant("texts cut too early", OPEN_CLIP, become(CutTooEarly)),
    Mutant("no causal mask", OPEN_CLIP, each(Attention, lambda a: setattr(a, "causal", False))),
    Mutant("masked scores set to zero", OPEN_CLIP, lambda m: text_attention(m, MaskedToZero)),
    Mutant("a token does not see itself", OPEN_CLIP, lambda m: text_attention(m, SeesItselfNot)),
    Mutant("scale not exponentiated", OPEN_CLIP, become(ScaleNotExponentiated)),
    Mutant("dot products for cosines", OPEN_CLIP, become(DotProducts)),
    Mutant("embeddings of length one", OPEN_CLIP, become(NormalisedEmbeddings)),
    Mutant("attention pool without mean token", RESNET, become(NoMeanToken)),
    Mutant("mean token does not see itself", RESNET, become(MeanAsksOthersOnly)),
    Mutant("pool's heads", RESNET, each(AttentionPool, lambda pool: setattr(pool, "num_heads", 4))),
    Mutant("batch statistics", RESNET, each(nn.BatchNorm2d, lambda norm: norm.train())),
    Mutant("BatchNorm eps 1e-3", RESNET, each(nn.BatchNorm2d, lambda norm: setattr(norm, "eps", 1e-3))),
    Mutant("stride in the convolution", RESNET, become(StridedConvolution)),
    Mutant("pool before the convolution", RESNET, become(PoolBeforeConvolution)),
    Mutant("shortcut subsampled", RESNET, become(ShortcutSubsampled)),
    Mutant("max pool in the stem", RESNET, become(MaxPooledStem)),
]


def swap_last_norms(model: ViT) -> None:
    model.norm, model.pool_norm = model.pool_norm, model.norm


def text_attention(model: CLIP, cls: type[nn.Module]) -> None:
    """The text tower's attention alone; the image tower has no mask."""
    become(cls)(model.text_tower)
