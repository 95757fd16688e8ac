"""The Vision Transformer: a picture cut into patches, read like a sentence (lesson 2.3).

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", section 3.1, eq.
1 to 4.
Follows the released weights as timm and transformers hold them: `norm_eps` 1e-6 (timm) or 1e-12 (transformers), exact
GELU.

Notation: B batch    N patches    D embed_dim    H W pixels    h w patch grid    C classes
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minimodels.blocks import Block, resize_positions, split_patches
from minimodels.errors import UserError


class ViT(nn.Module):
    """A plain Vision Transformer: patches, positions, pre-norm blocks, one linear head.

    Args:
        image_size: (height, width) in pixels that the position table was trained for; other sizes get an interpolated
            table.
        patch_size: side of a square patch in pixels.
        embed_dim, depth, num_heads, mlp_dim: width, number of blocks, heads a block, hidden width of the MLP.
        num_classes: C; 0 leaves the head out and `forward` returns the pooled features.
        class_token: put a learned token before the patches, whose answer is pooled.
        mean_pool: pool the mean of the patch tokens instead of the class token.
        norm_after_pool: the last LayerNorm sees the pooled vector and not the tokens (timm's `fc_norm`).
        qkv_bias: whether q, k and v have a bias.
        norm_eps: epsilon of every LayerNorm.
        antialias: how positions are resized: True as timm does (smoothed, in float32 whatever the model's dtype), False
            as transformers, which takes every table for a square one; here an oblong grid stays oblong.

    Raises:
        UserError: `image_size` is not a multiple of `patch_size`, or there is neither a class token nor mean pooling.
    """

    def __init__(
        self,
        *,
        image_size: tuple[int, int] = (224, 224),
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        num_classes: int = 1000,
        class_token: bool = True,
        mean_pool: bool = False,
        norm_after_pool: bool = False,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
        antialias: bool = True,
    ):
        super().__init__()
        if image_size[0] % patch_size or image_size[1] % patch_size:
            raise UserError(f"image_size {tuple(image_size)} is not a multiple of patch_size {patch_size}")
        if not class_token and not mean_pool:
            raise UserError("without a class token there is nothing to pool but the patches: pass mean_pool=True")
        self.patch_size, self.mean_pool, self.antialias = patch_size, mean_pool, antialias
        self.grid = (image_size[0] // patch_size, image_size[1] // patch_size)
        self.patch_proj = nn.Linear(3 * patch_size * patch_size, embed_dim)
        self.class_token = nn.Parameter(torch.randn(embed_dim) * 0.02) if class_token else None
        num_positions = self.grid[0] * self.grid[1] + int(class_token)
        self.pos = nn.Parameter(torch.randn(num_positions, embed_dim) * 0.02)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_dim, norm_eps=norm_eps, qkv_bias=qkv_bias) for _ in range(depth)
        )
        norm = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.norm = nn.Identity() if norm_after_pool else norm
        self.pool_norm = norm if norm_after_pool else nn.Identity()
        self.head = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Class logits (B, C) of normalised pictures; pooled features (B, D) without a head (section 3.1, eq. 4)."""
        tokens = self.encode(image)
        if self.mean_pool:
            pooled = tokens[:, int(self.class_token is not None) :].mean(dim=1)  # (B, D)
        else:
            pooled = tokens[:, 0]  # (B, D)
        return self.head(self.pool_norm(pooled))  # (B, C)

    def encode(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens dim"]:
        """Tokens after the last norm: (B, 1 + N, D), class token first; (B, N, D) without one (eq. 1 to 3)."""
        x = self.embed(image)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens dim"]:
        """Patches projected, class token put before them, positions added (section 3.1, eq. 1)."""
        x = self.patch_proj(split_patches(image, self.patch_size))  # (B, N, D)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)  # (B, 1 + N, D)
        return x + self.positions((image.shape[-2] // self.patch_size, image.shape[-1] // self.patch_size))

    def positions(self, grid: tuple[int, int]) -> Float[Tensor, "tokens dim"]:
        """The position table for a patch grid of h x w: the learned one, or resized from it (the class row stays)."""
        if grid == self.grid:
            return self.pos
        first = int(self.class_token is not None)
        table = self.pos[first:].float() if self.antialias else self.pos[first:]  # timm resizes in float32
        resized = resize_positions(table, self.grid, grid, antialias=self.antialias)
        return torch.cat([self.pos[:first], resized.to(self.pos.dtype)])
