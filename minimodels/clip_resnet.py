"""CLIP with a ResNet as image tower: RN50, RN101, RN50x4 ... (lesson 3.2).

Radford et al. 2021, section 2.4: ResNet-D's three-layer stem (He et al. 2019), anti-aliased downsampling by average
pooling (Zhang 2019), and one attention layer instead of the mean over positions. All strides are 1: the average pools
do all the shrinking.

Notation: B batch    C channels    H W pixels    h w feature map    N = h w    E embed_dim, the space both towers share
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from minimodels.clip import DualEncoder, TextTower, trim
from minimodels.errors import UserError

EXPANSION = 4  # a bottleneck's output is four times as wide as its 3x3 convolution
SHRINKS = 32  # the last feature map is so many times smaller than the picture


class ConvNorm(nn.Module):
    """A convolution without bias and the BatchNorm behind it (eps 1e-5, running statistics in eval mode)."""

    def __init__(self, channels: int, out_channels: int, kernel: int, *, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch out h2 w2"]:
        return self.norm(self.conv(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; a stride is an average pool before the last one and shortcut."""

    def __init__(self, channels: int, width: int, *, stride: int = 1):
        super().__init__()
        self.conv1 = ConvNorm(channels, width, 1)
        self.conv2 = ConvNorm(width, width, 3)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = ConvNorm(width, EXPANSION * width, 1)
        changes_shape = stride > 1 or channels != EXPANSION * width
        self.shortcut = ConvNorm(channels, EXPANSION * width, 1) if changes_shape else None

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch out h2 w2"]:
        branch = F.relu(self.conv1(x))
        branch = self.pool(F.relu(self.conv2(branch)))  # (B, width, h / stride, w / stride)
        branch = self.conv3(branch)  # (B, 4 width, h / stride, w / stride)
        if self.shortcut is not None:
            x = self.shortcut(self.pool(x))  # (B, 4 width, h / stride, w / stride)
        return F.relu(x + branch)


class AttentionPool(nn.Module):
    """The mean of all positions asks all positions, once: a single layer of multi-head attention (section 2.4).

    Args:
        channels: C of the feature map. grid: its side at the trained size. num_heads: heads. embed_dim: E of the
            answer.
    """

    def __init__(self, channels: int, grid: int, num_heads: int, embed_dim: int):
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise UserError(
                f"{channels} channels cannot be split into {num_heads} heads; choose a divisor of {channels}"
            )
        self.num_heads = num_heads
        self.pos = nn.Parameter(torch.randn(grid * grid + 1, channels) * channels**-0.5)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, embed_dim)

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch embed_dim"]:
        tokens = rearrange(features, "b c h w -> b (h w) c")  # (B, N, C)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.pos  # (B, 1 + N, C)
        q, k, v = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        q, k, v = (rearrange(t, "b n (heads d) -> b heads n d", heads=self.num_heads) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, 1, C / heads)
        return self.out_proj(rearrange(mixed, "b heads 1 d -> b (heads d)"))  # (B, E)


class ResNetTower(nn.Module):
    """CLIP's modified ResNet.

    Args:
        embed_dim: E, the width of the shared space.
        image_size: side of the square picture in pixels; the last feature map is 32 times smaller.
        width: channels after the stem (64 in RN50 and RN101, 80 in RN50x4).
        depths: bottlenecks in each of the four stages, (3, 4, 6, 3) in RN50.
        num_heads: heads of the attention pool.

    Raises:
        UserError: `image_size` is not a multiple of 32.
    """

    def __init__(self, *, embed_dim: int, image_size: int, width: int, depths: tuple[int, ...], num_heads: int):
        super().__init__()
        if image_size % SHRINKS:
            raise UserError(f"image_size {image_size} is not a multiple of {SHRINKS}, by which the ResNet shrinks it")
        self.image_size = image_size
        self.stem = nn.ModuleList(
            [
                ConvNorm(3, width // 2, 3, stride=2),
                ConvNorm(width // 2, width // 2, 3),
                ConvNorm(width // 2, width, 3),
            ]
        )
        self.stages = nn.ModuleList()
        channels = width
        for number, depth in enumerate(depths):
            stage_width, stride = width * 2**number, 1 if number == 0 else 2
            blocks = [Bottleneck(channels, stage_width, stride=stride)]
            blocks += [Bottleneck(EXPANSION * stage_width, stage_width) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            channels = EXPANSION * stage_width
        self.attention_pool = AttentionPool(channels, image_size // SHRINKS, num_heads, embed_dim)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed_dim"]:
        """Embeddings (B, E), not normalised, of pictures normalised with CLIP's mean and std.

        Raises:
            UserError: the picture is not `image_size` x `image_size`; the pool's positions know no other size.
        """
        height, width = image.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise UserError(
                f"this CLIP reads pictures of {self.image_size} x {self.image_size} pixels, here came "
                f"{height} x {width}; use the model's own .preprocess"
            )
        x = self.stem_features(image)
        for stage in self.stages:
            x = stage(x)
        return self.attention_pool(x)

    def stem_features(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """Three 3x3 convolutions and an average pool: a quarter of the height and width."""
        x = image
        for layer in self.stem:
            x = F.relu(layer(x))
        return F.avg_pool2d(x, 2)  # (B, width, H / 4, W / 4)


class CLIPResNet(DualEncoder):
    """CLIP with a modified ResNet as image tower; the defaults are RN50 (Radford et al. 2021, table 19).

    Args:
        embed_dim, image_size: E and the picture's side in pixels.
        vision_width, vision_depths, vision_heads: the image tower, see `ResNetTower`.
        text_width, text_depth, text_heads, text_mlp_dim, context_length, vocab_size, quick_gelu: the text tower, see
            `CLIP`.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 1024,
        image_size: int = 224,
        vision_width: int = 64,
        vision_depths: tuple[int, ...] = (3, 4, 6, 3),
        vision_heads: int = 32,
        text_width: int = 512,
        text_depth: int = 12,
        text_heads: int = 8,
        text_mlp_dim: int | None = None,
        context_length: int = 77,
        vocab_size: int = 49408,
        quick_gelu: bool = True,
    ):
        super().__init__(
            ResNetTower(
                embed_dim=embed_dim,
                image_size=image_size,
                width=vision_width,
                depths=vision_depths,
                num_heads=vision_heads,
            ),
            TextTower(
                embed_dim=embed_dim,
                context_length=context_length,
                vocab_size=vocab_size,
                width=text_width,
                depth=text_depth,
                num_heads=text_heads,
                mlp_dim=text_mlp_dim,
                quick_gelu=quick_gelu,
            ),
        )

    def trim(self, ids: Int[Tensor, "texts context"]) -> Int[Tensor, "texts tokens"]:
        """See `minimodels.clip.trim`."""
        return trim(ids)
