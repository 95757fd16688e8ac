"""CLIP: an image tower and a text tower that meet in one cosine (lessons 3.2 to 3.5).

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.
Follows the released weights: QuickGELU in OpenAI's, exact GELU in most of open_clip's; LayerNorm eps 1e-5.

Notation: B images    T texts    N tokens    D tower width    E embed_dim, the space both towers share    H W pixels
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minimodels.blocks import Block, QuickGELU, resize_positions, split_patches
from minimodels.errors import UserError

NORM_EPS = 1e-5


class ImageTower(nn.Module):
    """CLIP's ViT: one more LayerNorm before the blocks and a projection at the end (section 2.4).

    Args:
        embed_dim: E, the width of the shared space.
        image_size: side of the square picture in pixels.
        patch_size, width, depth, num_heads: patch side in pixels, D, number of blocks, heads a block.
        mlp_dim: hidden width of the MLP; 4 D when None.
        quick_gelu: QuickGELU (OpenAI's weights) or the exact GELU.

    Raises:
        UserError: `image_size` is not a multiple of `patch_size`.
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
        mlp_dim: int | None = None,
        quick_gelu: bool = True,
    ):
        super().__init__()
        if image_size % patch_size:
            raise UserError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        self.image_size, self.patch_size = image_size, patch_size
        side = image_size // patch_size
        self.grid = (side, side)
        self.patch_proj = nn.Linear(3 * patch_size * patch_size, width, bias=False)
        self.class_token = nn.Parameter(torch.randn(width) * width**-0.5)
        self.pos = nn.Parameter(torch.randn(side * side + 1, width) * width**-0.5)
        self.norm_pre = nn.LayerNorm(width, eps=NORM_EPS)
        self.blocks = make_blocks(width, depth, num_heads, mlp_dim, quick_gelu, causal=False)
        self.norm_post = nn.LayerNorm(width, eps=NORM_EPS)
        self.proj = nn.Linear(width, embed_dim, bias=False)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed_dim"]:
        """Embeddings (B, E), not normalised, of pictures normalised with CLIP's mean and std."""
        return self.proj(self.norm_post(self.encode(image)[:, 0]))  # (B, E)

    def encode(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens channels"]:
        """Tokens after the last block, class token first, before `norm_post`: (B, 1 + N, D)."""
        x = self.embed(image)
        for block in self.blocks:
            x = block(x)
        return x

    def embed(
        self, image: Float[Tensor, "batch 3 height width"], *, resize: bool = False
    ) -> Float[Tensor, "batch tokens channels"]:
        """Tokens before the first block: patches, class token, positions, `norm_pre`: (B, 1 + N, D).

        With `resize`, another picture size gets bicubically resized positions (no antialias, as CLIPSeg and
        transformers do).

        Raises:
            UserError: the picture is not `image_size` x `image_size` and `resize` is off; CLIP itself knows no other
                size.
        """
        height, width = image.shape[-2:]
        grid = (height // self.patch_size, width // self.patch_size)
        if grid != self.grid and not resize:
            raise UserError(
                f"this CLIP reads pictures of {self.image_size} x {self.image_size} pixels, here came "
                f"{height} x {width}; use the model's own .preprocess"
            )
        patches = self.patch_proj(split_patches(image, self.patch_size))  # (B, N, D)
        x = torch.cat([self.class_token.expand(len(patches), 1, -1), patches], dim=1)  # (B, 1 + N, D)
        if grid == self.grid:
            return self.norm_pre(x + self.pos)
        patch_pos = resize_positions(self.pos[1:], self.grid, grid, antialias=False)  # (N, D)
        return self.norm_pre(x + torch.cat([self.pos[:1], patch_pos]))


def trim(ids: Int[Tensor, "texts context"]) -> Int[Tensor, "texts tokens"]:
    """The columns of ids up to the last end-of-text of the batch; `TextTower` gives the same answers, sooner.

    No token sees those behind it, and none is pooled behind the end of its text. Of captions that is most of the 77.
    It reads the ids' values, so it stands before the model and not in it.
    """
    return ids[:, : int(ids.argmax(dim=-1).max()) + 1] if ids.numel() else ids


class TextTower(nn.Module):
    """CLIP's text transformer: causal, pooled at the end-of-text token (section 2.4).

    The tokens behind the last end-of-text of a batch cannot change any answer: `trim` cuts them off beforehand.

    Args:
        embed_dim: E, the width of the shared space.
        context_length: the most tokens a text can have (77).
        vocab_size: number of token ids; the end-of-text token must be the largest.
        width, depth, num_heads, mlp_dim, quick_gelu: as in `ImageTower`.
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
        mlp_dim: int | None = None,
        quick_gelu: bool = True,
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.pos = nn.Parameter(torch.randn(context_length, width) * 0.01)
        self.blocks = make_blocks(width, depth, num_heads, mlp_dim, quick_gelu, causal=True)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.proj = nn.Linear(width, embed_dim, bias=False)

    def forward(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts embed_dim"]:
        """Embeddings (T, E), not normalised. Each row of ids holds an end-of-text: the largest id, the first counts."""
        end = ids.argmax(dim=-1)  # (T,) place of the first end-of-text
        return self.proj(self.encode(ids)[torch.arange(len(ids), device=ids.device), end])  # (T, E)

    def encode(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts tokens channels"]:
        """Every token after the last norm: (T, N, D).

        Raises:
            UserError: more tokens than `context_length`.
        """
        if ids.shape[1] > len(self.pos):
            raise UserError(
                f"texts of {ids.shape[1]} tokens do not fit a context of {len(self.pos)}; tokenize with truncate=True"
            )
        x = self.token_embedding(ids) + self.pos[: ids.shape[1]]  # (T, N, D)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class DualEncoder(nn.Module):
    """Two towers and one number, the learned scale of their cosine (section 2.3, figure 3). Subclasses say which."""

    def __init__(self, image_tower: nn.Module, text_tower: nn.Module):
        super().__init__()
        self.image_tower = image_tower
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # the logarithm of the scale

    def encode_image(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed_dim"]:
        """Image embeddings (B, E), not normalised."""
        return self.image_tower(image)

    def encode_text(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts embed_dim"]:
        """Text embeddings (T, E), not normalised."""
        return self.text_tower(ids)

    def trim(self, ids: Int[Tensor, "texts context"]) -> Int[Tensor, "texts tokens"]:
        """The columns of ids that can change an answer: all, unless a subclass knows better."""
        return ids

    def forward(
        self, image: Float[Tensor, "batch 3 height width"], ids: Int[Tensor, "texts tokens"]
    ) -> Float[Tensor, "batch texts"]:
        """Logits (B, T): exp(logit_scale) times the cosine of every picture with every text."""
        return self.logits(self.encode_image(image), self.encode_text(ids))

    def logits(
        self, image: Float[Tensor, "batch embed_dim"], text: Float[Tensor, "texts embed_dim"]
    ) -> Float[Tensor, "batch texts"]:
        """The same from embeddings that were computed before."""
        cosine = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T  # (B, T)
        return self.logit_scale.exp() * cosine


class CLIP(DualEncoder):
    """CLIP with a Vision Transformer as image tower; the defaults are ViT-B/32 (Radford et al. 2021, table 20).

    Args:
        embed_dim: E, the shared space. image_size, patch_size: in pixels.
        vision_width, vision_depth, vision_heads, vision_mlp_dim: the image tower (mlp_dim None: 4 x width).
        text_width, text_depth, text_heads, text_mlp_dim, context_length, vocab_size: the text tower.
        quick_gelu: QuickGELU as in OpenAI's weights, or the exact GELU.
    """

    image_tower: ImageTower
    text_tower: TextTower

    def __init__(
        self,
        *,
        embed_dim: int = 512,
        image_size: int = 224,
        patch_size: int = 32,
        vision_width: int = 768,
        vision_depth: int = 12,
        vision_heads: int = 12,
        vision_mlp_dim: int | None = None,
        text_width: int = 512,
        text_depth: int = 12,
        text_heads: int = 8,
        text_mlp_dim: int | None = None,
        context_length: int = 77,
        vocab_size: int = 49408,
        quick_gelu: bool = True,
    ):
        super().__init__(
            ImageTower(
                embed_dim=embed_dim,
                image_size=image_size,
                patch_size=patch_size,
                width=vision_width,
                depth=vision_depth,
                num_heads=vision_heads,
                mlp_dim=vision_mlp_dim,
                quick_gelu=quick_gelu,
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
        """See the function `trim`."""
        return trim(ids)


def make_blocks(
    width: int, depth: int, num_heads: int, mlp_dim: int | None, quick_gelu: bool, *, causal: bool
) -> nn.ModuleList:
    """The blocks of one tower."""
    activation = QuickGELU if quick_gelu else nn.GELU
    return nn.ModuleList(
        Block(width, num_heads, mlp_dim or 4 * width, activation=activation, norm_eps=NORM_EPS, causal=causal)
        for _ in range(depth)
    )
