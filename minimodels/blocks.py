"""The transformer's parts: attention, MLP and block. Taught in lessons 2.1 and 2.2, met in every model after.

Notation, here and in every model file:
    B batch    N tokens    D embed_dim    d head_dim = D / heads    H W pixels    h w patch grid

Sources: Vaswani et al. 2017, "Attention Is All You Need", section 3.2; Dosovitskiy et al. 2021, "An Image is Worth
16x16 Words", appendix A (pre-norm block); Hendrycks and Gimpel 2016, "Gaussian Error Linear Units" (GELU and its
sigmoid approximation).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from minimodels.errors import UserError

NewModule = Callable[[], nn.Module]  # a class such as nn.GELU: called without arguments, it makes the module


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU in OpenAI's CLIP (Hendrycks and Gimpel 2016, section 2).

    It differs from the exact GELU by up to 0.02 an activation: enough to change CLIP's answers when the two are mixed
    up.
    """

    def forward(self, x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention: each token asks all tokens (Vaswani et al. 2017, section 3.2.2).

    One matrix makes q, k and v together (rows 0..D-1 are q, then k, then v), a second one mixes the heads' answers.

    Args:
        embed_dim: D, the width of a token.
        num_heads: how many heads share the width; must divide `embed_dim`.
        causal: token i sees tokens 0..i only (text towers).
        qkv_bias: whether the q, k, v projection has a bias.

    Raises:
        UserError: `embed_dim` is not divisible by `num_heads`.
    """

    def __init__(self, embed_dim: int, num_heads: int, *, causal: bool = False, qkv_bias: bool = True):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise UserError(
                f"embed_dim {embed_dim} cannot be split into {num_heads} heads; choose a divisor of {embed_dim}"
            )
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.causal = causal
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=qkv_bias)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], mask: Bool[Tensor, "#batch #heads #tokens tokens"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Tokens in, tokens out; a key whose `mask` is False is not seen. The kernel runs what `weights` spells out."""
        q, k, v = self.split_heads(x)
        mask = None if mask is None else self.merge_causal(mask, x)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal and mask is None)
        return self.out_proj(rearrange(mixed, "b heads n d -> b n (heads d)"))  # (B, N, D)

    def weights(
        self, x: Float[Tensor, "batch tokens dim"], mask: Bool[Tensor, "#batch #heads #tokens tokens"] | None = None
    ) -> Float[Tensor, "batch heads tokens tokens"]:
        """The weights in the open, for a debugger or a figure: row i says how much token i takes from each token j."""
        q, k, _ = self.split_heads(x)
        scores = (
            einsum(q, k, "b heads i d, b heads j d -> b heads i j") * self.head_dim**-0.5
        )  # scaled before the softmax
        if mask is None:
            mask = torch.ones(1, 1, x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
        mask = self.merge_causal(mask, x)
        scores = scores.masked_fill(~mask, float("-inf"))  # before the softmax, so that each row still sums to one
        return scores.softmax(dim=-1)

    def split_heads(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "three batch heads tokens head_dim"]:
        """q, k and v, each cut into heads."""
        return rearrange(self.qkv(x), "b n (three heads d) -> three b heads n d", three=3, heads=self.num_heads)

    def merge_causal(self, mask: Tensor, x: Tensor) -> Tensor:
        """A padding mask and, in a causal layer, the triangle together."""
        if not self.causal:
            return mask
        return mask & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()


class MLP(nn.Module):
    """Two linear layers with a bend between them, each token alone (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, embed_dim: int, mlp_dim: int, *, activation: NewModule = nn.GELU):
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, mlp_dim)
        self.activation = activation()
        self.fc2 = nn.Linear(mlp_dim, embed_dim)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return self.fc2(self.activation(self.fc1(x)))


class Block(nn.Module):
    """The pre-norm block: normalise, look around, add; normalise, think, add (Dosovitskiy et al. 2021, eq. 2, 3).

    Args:
        embed_dim, num_heads, causal, qkv_bias: see `Attention`.
        mlp_dim: hidden width of the MLP, 4 x `embed_dim` in most models.
        activation: class of the MLP's activation: `nn.GELU` (exact), `QuickGELU`, `nn.ReLU`.
        norm_eps: added to the variance in LayerNorm: 1e-6 in timm's ViT, 1e-12 in transformers' ViT and BERT, 1e-5 in
            CLIP.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        *,
        activation: NewModule = nn.GELU,
        norm_eps: float = 1e-6,
        causal: bool = False,
        qkv_bias: bool = True,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = Attention(embed_dim, num_heads, causal=causal, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = MLP(embed_dim, mlp_dim, activation=activation)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], mask: Bool[Tensor, "#batch #heads #tokens tokens"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class PostNormBlock(Block):
    """The original block, normalised after each sum (Vaswani et al. 2017, section 3.1), as in BERT."""

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], mask: Bool[Tensor, "#batch #heads #tokens tokens"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        x = self.norm1(x + self.attn(x, mask))
        return self.norm2(x + self.mlp(x))


def resize_positions(
    pos: Float[Tensor, "positions dim"], grid: tuple[int, int], new_grid: tuple[int, int], *, antialias: bool
) -> Float[Tensor, "new_positions dim"]:
    """A table of learned patch positions for another grid, resized bicubically.

    Its rows are an image of h x w pixels with D channels (Dosovitskiy et al. 2021, section 3.2). align_corners is False
    everywhere. Libraries disagree on `antialias`: timm smooths when it shrinks, transformers, CLIPSeg and DINOv2
    (without registers) do not.

    Raises:
        UserError: the table has not a row for each cell of `grid`.
    """
    if len(pos) != grid[0] * grid[1]:
        raise UserError(f"{len(pos)} positions are no grid of {grid[0]} x {grid[1]} patches")
    picture = rearrange(pos, "(h w) d -> 1 d h w", h=grid[0], w=grid[1])
    picture = F.interpolate(picture, size=new_grid, mode="bicubic", align_corners=False, antialias=antialias)
    return rearrange(picture, "1 d h w -> (h w) d")


def split_patches(
    image: Float[Tensor, "batch channels height width"], patch_size: int
) -> Float[Tensor, "batch patches patch_dim"]:
    """Cut a picture into squares, row by row; each becomes one vector.

    The order inside is channel, row, column, as a convolution kernel lies in memory.

    Raises:
        UserError: height or width is not a multiple of `patch_size`, or 0.
    """
    height, width = image.shape[-2:]
    if height % patch_size or width % patch_size or not height * width:
        raise UserError(
            f"an image of {height} x {width} pixels cannot be cut into patches of {patch_size} x {patch_size}; "
            f"resize or pad it to a multiple of {patch_size}"
        )
    return rearrange(image, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=patch_size, pw=patch_size)
