"""CLIPS: CLIP trained on long synthetic captions, and what its towers changed on the way (lesson 3.7).

Liu et al. 2024, "CLIPS: An Enhanced CLIP Framework for Learning with Synthetic Captions", section 3; the towers are
CLIPA's: Li et al. 2023, "An Inverse Scaling Law for CLIP Training", section 3.
Follows the released weights, which hold the two towers alone: the captioner that helped in training is not published.
CLIPA's own checkpoints are the same classes with `norm_eps=1e-5, tanh_gelu=False, context_length=32`.

Notation: B images    T texts    N tokens    D tower width    E embed_dim, the space both towers share    H W pixels
"""

from functools import partial

from jaxtyping import Float, Int
from torch import Tensor, nn

from minimodels.blocks import Block
from minimodels.clip import DualEncoder, ImageTower, TextTower
from minimodels.errors import UserError


class MeanPooledTower(ImageTower):
    """CLIP's ViT without the norm before the blocks, pooled as the mean of its patches.

    Args:
        norm_eps: epsilon of every LayerNorm: 1e-6 in CLIPS, 1e-5 in CLIPA and CLIP.
        The others as in `minimodels.clip.ImageTower`.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        image_size: int,
        patch_size: int,
        width: int,
        depth: int,
        num_heads: int,
        mlp_dim: int,
        norm_eps: float,
    ):
        super().__init__(
            embed_dim=embed_dim,
            image_size=image_size,
            patch_size=patch_size,
            width=width,
            depth=0,
            num_heads=num_heads,
        )
        self.norm_pre = nn.Identity()  # type: ignore[assignment]  # CLIP normalises here
        self.blocks = make_blocks(width, depth, num_heads, mlp_dim, norm_eps, tanh_gelu=False)  # CLIP: QuickGELU
        self.norm_post = nn.LayerNorm(width, eps=norm_eps)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed_dim"]:
        """Embeddings (B, E), not normalised, of pictures normalised with ImageNet's mean and std."""
        patches = self.encode(image)[:, 1:]  # (B, N, D): the class token took part in the blocks, and is not pooled
        pooled = patches.mean(dim=1)  # (B, D); CLIP: the class token
        return self.proj(self.norm_post(pooled))  # (B, E): the norm sees the mean, not the tokens


class LastTokenTower(TextTower):
    """A text transformer in which every token sees every other one, padding too, pooled at the last place.

    Args:
        norm_eps: epsilon of every LayerNorm. tanh_gelu: GELU by its tanh approximation, or the exact one.
        The others as in `minimodels.clip.TextTower`.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        context_length: int,
        vocab_size: int,
        width: int,
        depth: int,
        num_heads: int,
        mlp_dim: int,
        norm_eps: float,
        tanh_gelu: bool,
    ):
        super().__init__(
            embed_dim=embed_dim,
            context_length=context_length,
            vocab_size=vocab_size,
            width=width,
            depth=0,
            num_heads=num_heads,
        )
        self.blocks = make_blocks(width, depth, num_heads, mlp_dim, norm_eps, tanh_gelu=tanh_gelu)  # CLIP: causal
        self.norm = nn.LayerNorm(width, eps=norm_eps)

    def forward(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts embed_dim"]:
        """Embeddings (T, E), not normalised, of whole rows of ids: the last place is pooled, whatever stands there.

        Raises:
            UserError: rows that are shorter or longer than `context_length`.
        """
        if ids.shape[1] != len(self.pos):
            raise UserError(f"rows of {ids.shape[1]} ids, this text tower reads the whole context of {len(self.pos)}")
        return self.proj(self.encode(ids)[:, -1])  # (T, E); CLIP: the end-of-text token


class CLIPS(DualEncoder):
    """CLIPS; the defaults are ViT-L-14-CLIPS-224 (Liu et al. 2024, section 4.1).

    Args:
        embed_dim: E, the shared space. image_size, patch_size: in pixels.
        vision_width, vision_depth, vision_heads, vision_mlp_dim: the image tower.
        text_width, text_depth, text_heads, text_mlp_dim, context_length, vocab_size: the text tower.
        norm_eps, tanh_gelu: see `LastTokenTower`.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 768,
        image_size: int = 224,
        patch_size: int = 14,
        vision_width: int = 1024,
        vision_depth: int = 24,
        vision_heads: int = 16,
        vision_mlp_dim: int = 4096,
        text_width: int = 768,
        text_depth: int = 12,
        text_heads: int = 12,
        text_mlp_dim: int = 3072,
        context_length: int = 80,
        vocab_size: int = 32000,
        norm_eps: float = 1e-6,
        tanh_gelu: bool = True,
    ):
        super().__init__(
            MeanPooledTower(
                embed_dim=embed_dim,
                image_size=image_size,
                patch_size=patch_size,
                width=vision_width,
                depth=vision_depth,
                num_heads=vision_heads,
                mlp_dim=vision_mlp_dim,
                norm_eps=norm_eps,
            ),
            LastTokenTower(
                embed_dim=embed_dim,
                context_length=context_length,
                vocab_size=vocab_size,
                width=text_width,
                depth=text_depth,
                num_heads=text_heads,
                mlp_dim=text_mlp_dim,
                norm_eps=norm_eps,
                tanh_gelu=tanh_gelu,
            ),
        )


def make_blocks(
    width: int, depth: int, num_heads: int, mlp_dim: int, norm_eps: float, *, tanh_gelu: bool
) -> nn.ModuleList:
    """The blocks of one tower: no mask in either, GELU in one of its two forms."""
    activation = partial(nn.GELU, approximate="tanh") if tanh_gelu else nn.GELU
    return nn.ModuleList(
        Block(width, num_heads, mlp_dim, activation=activation, norm_eps=norm_eps) for _ in range(depth)
    )
