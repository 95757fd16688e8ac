"""FALIP: tell CLIP where to look, without touching the picture (lesson 3.10).

Zhuang et al. 2024, "FALIP: Visual Prompt as Foveal Attention Boosts CLIP Zero-Shot Performance". Nothing is trained: in
the last blocks of a CLIP ViT the class token's attention gets a bonus for the patches of a box.
What the paper does not say (the regions of point clouds, the weights of their views) is our choice, and marked.

Notation: B boxes    T texts    N patches    E embed_dim    h w patch grid    V views
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from minimodels.blocks import Block
from minimodels.clip import CLIP
from minimodels.depth_maps import depth_maps, region
from minimodels.errors import UserError

Box = Sequence[int | float]  # left, top, right, bottom in pixels, from edge to edge: all of it is 0, 0, width, height
ALPHA, SIGMA = 0.2, 100.0  # strength of the bonus, width of the fovea in patches
FIRST_BLOCK = 8  # counted from 0: the last 4 of ViT-B/16's blocks, the last 16 of ViT-L/14's
AT_ONCE = 32  # boxes: what bounds the memory, however many are asked
TINY = 1e-6


def first_masked_block(depth: int) -> int:
    """Number 8, as in the released code; in a tower of 8 blocks or fewer the first of all: our choice (lesson 3.10)."""
    return FIRST_BLOCK if depth > FIRST_BLOCK else 0


def patches_of(box: Box, picture: tuple[int, int], image_size: int, patch_size: int) -> tuple[slice, slice]:
    """Rows and columns of the patch grid that a box covers, once the picture is squashed to a square.

    A corner at x lies in patch ceil(x / patch) - 1: a start exactly on a border belongs to the patch before it, but 0.

    Args:
        box: in pixels of the picture.
        picture: its (height, width) in pixels.
        image_size, patch_size: of the model, in pixels.

    Raises:
        UserError: not four numbers, a box without a size, or outside the picture.
    """
    height, width = picture
    told = f"the box {', '.join(f'{side:g}' for side in box)}"
    if len(box) != 4:
        raise UserError(f"{told} has {len(box)} numbers, expected 4: left, top, right, bottom")
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UserError(
            f"{told} is none in a picture of {width} x {height} pixels: "
            f"expected 0 <= left < right <= {width} and 0 <= top < bottom <= {height}"
        )

    def patch(at: int | float, size: int) -> int:
        return max(math.ceil(min(at * (image_size / size), image_size) / patch_size), 1) - 1

    return (
        slice(patch(top, height), patch(bottom, height) + 1),
        slice(patch(left, width), patch(right, width) + 1),
    )


def fovea(rows: int, columns: int, alpha: float = ALPHA, sigma: float = SIGMA) -> Float[Tensor, "rows columns"]:
    """The bonus of a box of patches: a Gaussian about its middle, stretched so that the middle has alpha.

    Stretching makes the shape: with sigma 100 every raw value is above 0.99. In a box of equal values all have alpha.
    """
    y = torch.arange(rows, dtype=torch.float64) - (rows - 1) / 2
    x = torch.arange(columns, dtype=torch.float64) - (columns - 1) / 2
    distance = (y[:, None] ** 2 + x**2).sqrt()  # in patches
    bell = (-0.5 * (distance / sigma) ** 2).exp()
    return (bell - bell.min() + TINY) / (bell.max() - bell.min() + TINY) * alpha


def foveal_masks(
    boxes: Sequence[Box],
    picture: tuple[int, int],
    image_size: int,
    patch_size: int,
    alpha: float = ALPHA,
    sigma: float = SIGMA,
) -> Float[Tensor, "boxes tokens"]:
    """For each box, what is added to the class token's attention scores (B, 1 + N), zero outside the box.

    Raises:
        UserError: no box, or one that is none.
    """
    if not len(boxes):
        raise UserError("no box is given: say where to look, as left, top, right, bottom in pixels of the picture")
    side = image_size // patch_size
    masks = torch.zeros(len(boxes), side, side, dtype=torch.float64)
    for mask, box in zip(masks, boxes):
        rows, columns = patches_of(box, picture, image_size, patch_size)
        mask[rows, columns] = fovea(rows.stop - rows.start, columns.stop - columns.start, alpha, sigma)
    return F.pad(masks.flatten(1), (1, 0))  # no bonus for the class token itself


def on_one_head(masks: Float[Tensor, "boxes tokens"], head: int, num_heads: int) -> Float[Tensor, "boxes heads tokens"]:
    """The masks for one head, zeros for the others: what does it do alone?

    Raises:
        UserError: there is no such head.
    """
    if not 0 <= head < num_heads:
        raise UserError(f"there is no head {head}: they count from 0 to {num_heads - 1}")
    return einsum(masks, torch.eye(num_heads).to(masks)[head], "b n, heads -> b heads n")


class FoveatedCLIP(nn.Module):
    """A CLIP whose class token looks where masks say. With masks of zeros it is plain CLIP.

    Masks are (B, 1 + N), the same for every head as in the paper, or (B, heads, 1 + N), for each head its own.

    Args:
        clip: the model. first_block: the first one with a mask, counted from 0; None: `first_masked_block`.

    Raises:
        UserError: the tower has no such block.
    """

    def __init__(self, clip: CLIP, first_block: int | None = None):
        super().__init__()
        depth = len(clip.image_tower.blocks)
        self.clip, self.first_block = clip, first_masked_block(depth) if first_block is None else first_block
        if not 0 <= self.first_block < depth:
            raise UserError(f"there is no block {first_block} to mask first: they count from 0 to {depth - 1}")

    def encode_image(
        self, image: Float[Tensor, "1 3 height width"], masks: Float[Tensor, "boxes *heads tokens"]
    ) -> Float[Tensor, "boxes embed_dim"]:
        """Embeddings (B, E) of one picture, seen once for each mask; not normalised.

        What no mask can change runs once: the blocks before the first masked one, and the patches inside that one.
        """
        tower, x = self.clip.image_tower, self.before(image)
        last: Any = tower.blocks[-1]
        parts = [
            foveate(last, self.until_last(x, some), some, patches=False) for some in self.bonus(masks, x).split(AT_ONCE)
        ]
        return tower.proj(tower.norm_post(torch.cat(parts)[:, 0]))  # (B, E)

    def before(self, image: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 tokens dim"]:
        """Tokens (1, 1 + N, D) before the first masked block."""
        x = self.clip.image_tower.embed(image)
        for block in self.clip.image_tower.blocks[: self.first_block]:
            x = block(x)
        return x

    def until_last(
        self, x: Float[Tensor, "1 tokens dim"], added: Float[Tensor, "boxes heads 1 tokens"]
    ) -> Float[Tensor, "seen tokens dim"]:
        """Tokens (B, 1 + N, D) before the last block; (1, 1 + N, D) where that is the only one with a mask."""
        for block in self.clip.image_tower.blocks[self.first_block : -1]:
            x = foveate(block, x, added, patches=True)
        return x

    def attention(
        self, image: Float[Tensor, "1 3 height width"], masks: Float[Tensor, "boxes *heads tokens"]
    ) -> Float[Tensor, "boxes heads tokens"]:
        """How much the class token takes from each token in the last block, for a figure."""
        x, block = self.before(image), cast(Block, self.clip.image_tower.blocks[-1])
        added = self.bonus(masks, x)
        x = self.until_last(x, added)
        q, k, _ = block.attn.split_heads(block.norm1(x))  # (B, heads, 1 + N, d)
        scores = einsum(q[:, :, :1], k, "b heads i d, b heads j d -> b heads i j") * block.attn.head_dim**-0.5
        return rearrange((scores + added).softmax(dim=-1), "b heads 1 n -> b heads n")

    def bonus(
        self, masks: Float[Tensor, "boxes *heads tokens"], x: Float[Tensor, "1 tokens dim"]
    ) -> Float[Tensor, "boxes heads 1 tokens"]:
        """Masks as the attention takes them, for one row that asks: the class token's.

        Raises:
            UserError: masks for other tokens or other heads than there are.
        """
        heads, tokens = cast(Block, self.clip.image_tower.blocks[0]).attn.num_heads, x.shape[1]
        if masks.ndim not in (2, 3) or not len(masks) or masks.shape[1:] not in ((tokens,), (heads, tokens)):
            raise UserError(
                f"masks of {tuple(masks.shape)}, expected (boxes, {tokens}) or (boxes, {heads}, {tokens}): one number "
                "for the class token and each patch, made by foveal_masks for this model's image and patch size"
            )
        told = masks if masks.ndim == 3 else repeat(masks, "b n -> b heads n", heads=heads)
        return rearrange(told, "b heads n -> b heads 1 n").to(x)

    def scores(
        self, image: Float[Tensor, "boxes embed_dim"], text: Float[Tensor, "texts embed_dim"]
    ) -> Float[Tensor, "texts boxes"]:
        """exp(logit_scale) times the cosine of every text with every box.

        Along a row, the best box of a text: a referring expression. Down a column, the best text of a box: a class.
        """
        return self.clip.logits(image, text).T


def foveate(
    block: Any,
    x: Float[Tensor, "seen tokens dim"],
    added: Float[Tensor, "boxes heads 1 tokens"],
    *,
    patches: bool,
) -> Float[Tensor, "boxes out dim"]:
    """A `Block` with a bonus on the class token's scores: (B, 1 + N, D), or (B, 1, D) without its patches.

    `x` is (1, 1 + N, D) as long as all boxes share it; then the patches' rows are computed once for all of them.
    """
    q, k, v = block.attn.split_heads(block.norm1(x))  # (B, heads, 1 + N, d)
    asks, keys, values = (part.expand(len(added), -1, -1, -1) for part in (q[:, :, :1], k, v))
    seen = finish(block, x[:, :1], F.scaled_dot_product_attention(asks, keys, values, attn_mask=added))  # (B, 1, D)
    if not patches:
        return seen
    others = finish(block, x[:, 1:], F.scaled_dot_product_attention(q[:, :, 1:], k, v))  # (B, N, D)
    return torch.cat([seen, others.expand(len(seen), -1, -1)], dim=1)  # (B, 1 + N, D)


def finish(
    block: Any, x: Float[Tensor, "seen tokens dim"], mixed: Float[Tensor, "boxes heads tokens head_dim"]
) -> Float[Tensor, "boxes tokens dim"]:
    """The rest of a `Block` behind its attention."""
    x = x + block.attn.out_proj(rearrange(mixed, "b heads n d -> b n (heads d)"))
    return x + block.mlp(block.norm2(x))


def subtract(scores: Float[Tensor, "texts boxes"], bank: Float[Tensor, "others boxes"]) -> Float[Tensor, "texts boxes"]:
    """Scores without what every sentence gives a box: less the mean score of other expressions."""
    return scores - bank.mean(dim=0)


def cloud_views(
    points: Float[Tensor, "points 3"], image_size: int, patch_size: int, alpha: float = ALPHA
) -> tuple[Float[Tensor, "views 3 size size"], Float[Tensor, "views tokens"]]:
    """Six depth maps as pictures (V, 3, S, S) and for each the mask (V, 1 + N) of what is not empty.

    Our choice, for the paper does not say: PointCLIP's projection, the box around all pixels with a depth as region,
    no normalisation of the maps (PointCLIP has none).

    Raises:
        UserError: these are no points, or a view shows none of them.
    """
    size = (image_size, image_size)
    depth = F.interpolate(depth_maps(points)[:, None], size=size, mode="bilinear", align_corners=True)  # (V, 1, S, S)
    boxes = [region(view).tolist() for view in depth[:, 0]]
    return depth.expand(-1, 3, -1, -1), foveal_masks(boxes, size, image_size, patch_size, alpha)


def cloud_scores(
    model: FoveatedCLIP,
    points: Float[Tensor, "points 3"],
    text: Float[Tensor, "texts embed_dim"],
    weights: Sequence[float] = (1.0,) * 6,
    alpha: float = ALPHA,
) -> Float[Tensor, "texts"]:
    """Scores of a point cloud: six depth maps, each looked at where it is not empty, weighted and summed.

    Equal weights are our choice, for the paper does not say.
    """
    images, masks = cloud_views(points, model.clip.image_tower.image_size, model.clip.image_tower.patch_size, alpha)
    total = text.new_zeros(len(text))
    for image, mask, weight in zip(images.to(text), masks, weights, strict=True):
        total = total + weight * model.scores(model.encode_image(image[None], mask[None]), text)[:, 0]
    return total
