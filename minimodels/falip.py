"""FALIP: tell CLIP where to look, without touching the picture (lesson 3.10).

Zhuang et al. 2024, "FALIP: Visual Prompt as Foveal Attention Boosts CLIP Zero-Shot Performance", section 3. Nothing is
trained: in the last blocks of a CLIP ViT the class token's attention gets a bonus for the patches of a box.
What the paper does not say (the regions of point clouds, the weights of their views) is our choice, and marked.

Notation: B boxes    T texts    N patches    E embed_dim    h w patch grid    V views
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from minimodels.clip import CLIP
from minimodels.depth_maps import depth_maps, region
from minimodels.errors import UserError

ALPHA, SIGMA = 0.2, 100.0  # strength of the bonus, width of the fovea in patches
FIRST_BLOCK = 8  # counted from 0: the last 4 of ViT-B/16's blocks
MOST_BOXES = 100
TINY = 1e-6


def patches_of(box: Sequence[float], picture: tuple[int, int], image_size: int, patch_size: int) -> tuple[slice, slice]:
    """Rows and columns of the patch grid that a box covers, once the picture is squashed to a square.

    A corner at x lies in patch ceil(x / patch) - 1: a start exactly on a border belongs to the patch before it, but 0.

    Args:
        box: (left, top, right, bottom) in pixels of the picture.
        picture: its (height, width) in pixels.
        image_size, patch_size: of the model, in pixels.

    Raises:
        UserError: a box without a size, or outside the picture.
    """
    left, top, right, bottom = box
    height, width = picture
    inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    if not inside:
        raise UserError(
            f"the box {', '.join(f'{side:g}' for side in box)} is none in a picture of {width} x {height} pixels: "
            "expected 0 <= left < right <= width and 0 <= top < bottom <= height"
        )

    def patch(at: float, size: int) -> int:
        return max(math.ceil(min(at * (image_size / size), image_size) / patch_size), 1) - 1

    return (
        slice(patch(top, height), patch(bottom, height) + 1),
        slice(patch(left, width), patch(right, width) + 1),
    )


def fovea(rows: int, columns: int, alpha: float = ALPHA, sigma: float = SIGMA) -> Float[Tensor, "rows columns"]:
    """The bonus of a box of patches: a Gaussian about its middle, stretched so that the middle has alpha (eq. 3).

    Stretching makes the shape: with sigma 100 every raw value is above 0.99. In a box of equal values all have alpha.
    """
    y = torch.arange(rows, dtype=torch.float64) - (rows - 1) / 2
    x = torch.arange(columns, dtype=torch.float64) - (columns - 1) / 2
    distance = (y[:, None] ** 2 + x**2).sqrt()  # in patches
    bell = (-0.5 * (distance / sigma) ** 2).exp()
    return (bell - bell.min() + TINY) / (bell.max() - bell.min() + TINY) * alpha


def foveal_masks(
    boxes: Sequence[Sequence[float]],
    picture: tuple[int, int],
    image_size: int,
    patch_size: int,
    alpha: float = ALPHA,
    sigma: float = SIGMA,
) -> Float[Tensor, "boxes tokens"]:
    """For each box, what is added to the class token's attention scores (B, 1 + N), zero outside the box.

    Raises:
        UserError: no box, more than 100, or one that is none.
    """
    if not 1 <= len(boxes) <= MOST_BOXES:
        raise UserError(f"{len(boxes)} boxes, expected 1 to {MOST_BOXES}: each costs a whole pass")
    side = image_size // patch_size
    masks = torch.zeros(len(boxes), side, side, dtype=torch.float64)
    for mask, box in zip(masks, boxes):
        rows, columns = patches_of(box, picture, image_size, patch_size)
        mask[rows, columns] = fovea(rows.stop - rows.start, columns.stop - columns.start, alpha, sigma)
    return F.pad(masks.flatten(1), (1, 0))  # no bonus for the class token itself


class FoveatedCLIP(nn.Module):
    """A CLIP whose class token looks where masks say. With masks of zeros it is plain CLIP.

    Args:
        clip: the model. first_block: the first one with a mask; 8 in ViT-B/16 and ViT-L/14.
    """

    def __init__(self, clip: CLIP, first_block: int = FIRST_BLOCK):
        super().__init__()
        self.clip, self.first_block = clip, first_block

    def encode_image(
        self, image: Float[Tensor, "1 3 height width"], masks: Float[Tensor, "boxes tokens"], head: int | None = None
    ) -> Float[Tensor, "boxes embed_dim"]:
        """Embeddings (B, E) of one picture, seen once for each mask; not normalised. `head`: that one alone is masked.

        The first blocks run once: they know nothing of the masks.
        """
        tower = self.clip.image_tower
        x = self.encode(image, masks, head, len(tower.blocks))
        return tower.proj(tower.norm_post(x[:, 0]))  # (B, E)

    def encode(
        self, image: Float[Tensor, "1 3 height width"], masks: Float[Tensor, "boxes tokens"], head: int | None, end: int
    ) -> Float[Tensor, "boxes tokens dim"]:
        """Tokens (B, 1 + N, D) after the first `end` blocks."""
        x = self.clip.image_tower.embed(image)
        for block in self.clip.image_tower.blocks[: self.first_block]:
            x = block(x)
        x = x.expand(len(masks), -1, -1)  # (B, 1 + N, D)
        for block in self.clip.image_tower.blocks[self.first_block : end]:
            x = foveate(block, x, masks.to(x), head)
        return x

    def attention(
        self, image: Float[Tensor, "1 3 height width"], masks: Float[Tensor, "boxes tokens"], head: int | None = None
    ) -> Float[Tensor, "boxes heads tokens"]:
        """How much the class token takes from each token in the last block, for a figure."""
        block: Any = self.clip.image_tower.blocks[-1]
        x = self.encode(image, masks, head, len(self.clip.image_tower.blocks) - 1)
        q, k, _ = block.attn.split_heads(block.norm1(x))  # (B, heads, 1 + N, d)
        scores = einsum(q[:, :, 0], k, "b heads d, b heads n d -> b heads n") * block.attn.head_dim**-0.5
        return (scores + bonus(masks.to(x), block.attn.num_heads, head)).softmax(dim=-1)

    def scores(
        self, image: Float[Tensor, "boxes embed_dim"], text: Float[Tensor, "texts embed_dim"]
    ) -> Float[Tensor, "texts boxes"]:
        """exp(logit_scale) times the cosine of every text with every box. The best box of a text has the highest."""
        return self.clip.logits(image, text).T


def foveate(
    block: Any, x: Float[Tensor, "boxes tokens dim"], masks: Float[Tensor, "boxes tokens"], head: int | None
) -> Float[Tensor, "boxes tokens dim"]:
    """A `Block` with a bonus on the class token's scores, added behind the scale and before the softmax."""
    q, k, v = block.attn.split_heads(block.norm1(x))  # (B, heads, 1 + N, d)
    added = x.new_zeros(len(x), block.attn.num_heads, x.shape[1], x.shape[1])
    added[:, :, 0] = bonus(masks, block.attn.num_heads, head)  # the first row asks: the class token
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=added)
    x = x + block.attn.out_proj(rearrange(mixed, "b heads n d -> b n (heads d)"))
    return x + block.mlp(block.norm2(x))


def bonus(
    masks: Float[Tensor, "boxes tokens"], num_heads: int, head: int | None
) -> Float[Tensor, "boxes heads tokens"]:
    """The masks for every head, or for one alone."""
    told = repeat(masks, "b n -> b heads n", heads=num_heads)
    chosen = torch.arange(num_heads, device=masks.device) == head if head is not None else True
    return told * torch.as_tensor(chosen, device=masks.device).reshape(-1, 1)


def subtract(scores: Float[Tensor, "texts boxes"], bank: Float[Tensor, "others boxes"]) -> Float[Tensor, "texts boxes"]:
    """Scores without what every sentence gives a box: less the mean score of other expressions (section 4.1)."""
    return scores - bank.mean(dim=0)


def cloud_scores(
    model: FoveatedCLIP,
    points: Float[Tensor, "points 3"],
    text: Float[Tensor, "texts embed_dim"],
    weights: Sequence[float] = (1.0,) * 6,
    alpha: float = ALPHA,
) -> Float[Tensor, "texts"]:
    """Scores of a point cloud: six depth maps, each looked at where it is not empty, weighted and summed.

    Our choice, for the paper does not say: PointCLIP's projection, the box around all pixels with a depth as region,
    equal weights, no normalisation of the maps (PointCLIP has none).
    """
    tower = model.clip.image_tower
    size = tower.image_size
    total = text.new_zeros(len(text))
    for depth, weight in zip(depth_maps(points).to(text), weights, strict=True):
        image = F.interpolate(depth[None, None], size=(size, size), mode="bilinear", align_corners=True)
        mask = foveal_masks([region(image[0, 0]).tolist()], (size, size), size, tower.patch_size, alpha)
        seen = model.encode_image(image.expand(1, 3, size, size), mask)  # (1, E)
        total = total + weight * model.scores(seen, text)[:, 0]
    return total
