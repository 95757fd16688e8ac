"""SAM, Segment Anything: an image encoder run once, then a light decoder for every prompt (lesson 5.1).

Kirillov et al. 2023, "Segment Anything", section 3 and appendix A; the encoder is the ViT of Li et al. 2022, "Exploring
Plain Vision Transformer Backbones for Object Detection", with the relative positions of their "MViTv2", section 4.1.
Follows the released weights: LayerNorm eps 1e-6 in the encoder, 1e-5 in the decoder's two-way blocks (transformers has
1e-6 there too), exact GELU, no sigmoid behind the predicted IoU, and a padding point beside clicks without a box.

Notation: B images    P prompts an image    N tokens    M masks    D embed_dim    C prompt_dim
          S side of the padded square picture in pixels    h w patch grid, or a window of it
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from minimodels.blocks import MLP, split_patches
from minimodels.errors import UserError

Grid = Float[Tensor, "batch h w dim"]
Tokens = Float[Tensor, "batch tokens dim"]
Keys = Float[Tensor, "batch keys dim"]
Heads = Float[Tensor, "windows heads tokens d"]
Scores = Float[Tensor, "windows heads tokens tokens"]
Embedding = Float[Tensor, "images dim h w"]
Points = Float[Tensor, "#images prompts points 2"]
Labels = Int[Tensor, "#images prompts points"]
Boxes = Float[Tensor, "#images prompts 4"]
Mask = Float[Tensor, "#images prompts fine_h fine_w"]
Prompts = Float[Tensor, "#images #prompts tokens dim"]
Dense = Float[Tensor, "#images #prompts dim h w"]
Masks = Float[Tensor, "images prompts masks fine_h fine_w"]
IoUs = Float[Tensor, "images prompts masks"]

ENCODER_EPS = 1e-6
SCORES_AT_ONCE = 2**24  # numbers: so many heads share one step of attention that their scores stay below it
PADDING, NEGATIVE, POSITIVE = -1, 0, 1  # labels of a point
TOP_LEFT, BOTTOM_RIGHT = 2, 3  # a box is two more points with labels of their own


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each position of a picture (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=ENCODER_EPS)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return rearrange(super().forward(rearrange(x, "b c h w -> b h w c")), "b h w c -> b c h w")


def relative_rows(table: Float[Tensor, "rows d"], q_size: int, k_size: int) -> Float[Tensor, "q_size k_size d"]:
    """For each place of a query and of a key along one axis the row of the table that belongs to their offset.

    Row i belongs to the offset i - (k_size - 1) from key to query. A table of another length is resized linearly; with
    more queries than keys, or fewer, the places are stretched and the offset is cut to a whole number.
    """
    length = 2 * max(q_size, k_size) - 1
    if len(table) != length:
        stretched = F.interpolate(rearrange(table, "n d -> 1 d n"), length, mode="linear", align_corners=False)
        table = rearrange(stretched, "1 d n -> n d")
    q_place = torch.arange(q_size, device=table.device)[:, None] * max(k_size / q_size, 1.0)
    k_place = torch.arange(k_size, device=table.device)[None, :] * max(q_size / k_size, 1.0)
    offset = q_place - k_place + (k_size - 1) * max(q_size / k_size, 1.0)
    return table[offset.long()]  # (q_size, k_size, head_dim)


def relative_bias(q: Heads, rel_h: Tensor, rel_w: Tensor, grid: tuple[int, int]) -> Scores:
    """What relative positions add to the scores: one term for the rows between two tokens, one for the columns.

    It asks the query as it is before the scaling. Two tables of 2 h - 1 and 2 w - 1 rows stand for all
    (2 h - 1)(2 w - 1) offsets ("decomposed", MViTv2 eq. 4).
    """
    (h, w), q = grid, rearrange(q, "b heads (h w) d -> b heads h w d", h=grid[0])
    rows = einsum(q, relative_rows(rel_h, h, h), "b heads h w d, h kh d -> b heads h w kh")
    columns = einsum(q, relative_rows(rel_w, w, w), "b heads h w d, w kw d -> b heads h w kw")
    bias = rows[..., :, None] + columns[..., None, :]  # (B, heads, h, w, h, w)
    return rearrange(bias, "b heads h w kh kw -> b heads (h w) (kh kw)")


def split_windows(x: Grid, size: int, fill: Float[Tensor, "dim"]) -> Float[Tensor, "windows size size dim"]:
    """Windows row by row; where they reach over the right and bottom edge, tokens `fill` are put in."""
    batch, h, w, _ = x.shape
    padded = fill.expand(batch, h + -h % size, w + -w % size, -1).clone()
    padded[:, :h, :w] = x
    return rearrange(padded, "b (nh wh) (nw ww) d -> (b nh nw) wh ww d", wh=size, ww=size)


def join_windows(windows: Float[Tensor, "windows size size dim"], grid: tuple[int, int]) -> Grid:
    """The inverse of `split_windows`; what was put in is dropped."""
    (h, w), size = grid, windows.shape[1]
    down, right = -(-h // size), -(-w // size)
    return rearrange(windows, "(b nh nw) wh ww d -> b (nh wh) (nw ww) d", nh=down, nw=right)[:, :h, :w]


class RelativeAttention(nn.Module):
    """Self-attention on a grid of tokens, whole or in windows, with decomposed relative positions.

    Args:
        embed_dim, num_heads: see `blocks.Attention`. grid: tokens a side of the picture.
        window: tokens a side of a window; None: each token sees the whole grid (a global block). The tables have a row
            for each offset between two tokens that see each other, the same for all heads.
    """

    def __init__(self, embed_dim: int, num_heads: int, grid: int, window: int | None):
        super().__init__()
        if embed_dim % num_heads:
            raise UserError(f"embed_dim {embed_dim} cannot be split into {num_heads} heads")
        self.num_heads, self.head_dim, self.window = num_heads, embed_dim // num_heads, window
        side = window or grid
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        self.rel_h = nn.Parameter(torch.zeros(2 * side - 1, self.head_dim))
        self.rel_w = nn.Parameter(torch.zeros(2 * side - 1, self.head_dim))

    def forward(self, x: Grid) -> Grid:
        """Tokens in, tokens out; a few heads at a time, for their scores and biases are the largest tensors."""
        (q, k, v), grid = self.split_heads(x)
        few, mixed = max(1, SCORES_AT_ONCE // (len(q) * q.shape[2] ** 2)), []
        for head in range(0, self.num_heads, few):
            some = slice(head, head + few)
            bias = relative_bias(q[:, some], self.rel_h, self.rel_w, grid)  # (B, heads, N, N)
            mixed.append(F.scaled_dot_product_attention(q[:, some], k[:, some], v[:, some], attn_mask=bias))
        joined = rearrange(torch.cat(mixed, dim=1), "b heads (h w) d -> b h w (heads d)", h=grid[0])
        return self.out_proj(joined if self.window is None else join_windows(joined, (x.shape[1], x.shape[2])))

    def weights(self, x: Grid) -> Scores:
        """The weights in the open, for a debugger or a figure; of each window by itself."""
        (q, k, _), grid = self.split_heads(x)
        scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * self.head_dim**-0.5
        return (scores + relative_bias(q, self.rel_h, self.rel_w, grid)).softmax(dim=-1)

    def split_heads(self, x: Grid) -> tuple[Float[Tensor, "three windows heads tokens d"], tuple[int, int]]:
        """q, k and v of each window, and the grid inside it.

        Padding is put in behind the projection: a token of zeros becomes the bias of q, k and v, and is seen.
        """
        qkv = self.qkv(x) if self.window is None else split_windows(self.qkv(x), self.window, self.qkv.bias)
        heads = rearrange(qkv, "b h w (three heads d) -> three b heads (h w) d", three=3, heads=self.num_heads)
        return heads, (qkv.shape[1], qkv.shape[2])


class EncoderBlock(nn.Module):
    """The pre-norm block of a ViT on a grid (B, h, w, D)."""

    def __init__(self, embed_dim: int, num_heads: int, mlp_dim: int, grid: int, window: int | None):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=ENCODER_EPS)
        self.attn = RelativeAttention(embed_dim, num_heads, grid, window)
        self.norm2 = nn.LayerNorm(embed_dim, eps=ENCODER_EPS)
        self.mlp = MLP(embed_dim, mlp_dim)

    def forward(self, x: Grid) -> Grid:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ImageEncoder(nn.Module):
    """A ViT with windows and a few global blocks, and a neck of two convolutions (section 3, "Image encoder")."""

    def __init__(
        self,
        *,
        grid: int,
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_dim: int,
        window_size: int,
        global_blocks: Sequence[int],
        prompt_dim: int,
    ):
        super().__init__()
        self.grid, self.patch_size = grid, patch_size
        self.patch_proj = nn.Linear(3 * patch_size * patch_size, embed_dim)
        self.pos = nn.Parameter(torch.randn(grid, grid, embed_dim) * 0.02)
        windows = [None if layer in global_blocks else window_size for layer in range(depth)]
        self.blocks = nn.ModuleList(EncoderBlock(embed_dim, num_heads, mlp_dim, grid, window) for window in windows)
        mix = nn.Conv2d(embed_dim, prompt_dim, kernel_size=1, bias=False)
        smooth = nn.Conv2d(prompt_dim, prompt_dim, kernel_size=3, padding=1, bias=False)
        self.neck = nn.Sequential(mix, ChannelNorm(prompt_dim), smooth, ChannelNorm(prompt_dim))

    def forward(self, image: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch prompt_dim h w"]:
        patches = split_patches(image, self.patch_size)  # (B, h w, 3 patch_size^2)
        x = rearrange(self.patch_proj(patches), "b (h w) d -> b h w d", h=self.grid) + self.pos  # (B, h, w, D)
        for block in self.blocks:
            x = block(x)
        return self.neck(rearrange(x, "b h w d -> b d h w"))  # (B, C, h, w)


class PromptEncoder(nn.Module):
    """Clicks and boxes become tokens, a rough mask becomes a picture of features (section 3, "Prompt encoder").

    Args:
        prompt_dim: C. side: S. grid: patches a side. mask_channels: inner width of the convolutions that read a mask.
    """

    frequencies: Tensor

    def __init__(self, *, prompt_dim: int, side: int, grid: int, mask_channels: int):
        super().__init__()
        self.side, self.grid = side, grid
        self.register_buffer("frequencies", torch.randn(2, prompt_dim // 2))
        self.label_embed = nn.Parameter(torch.randn(4, prompt_dim))  # negative, positive, two corners of a box
        self.padding_embed = nn.Parameter(torch.randn(prompt_dim))
        self.no_mask_embed = nn.Parameter(torch.randn(prompt_dim))
        self.mask_conv = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, kernel_size=2, stride=2), ChannelNorm(mask_channels // 4), nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2), ChannelNorm(mask_channels), nn.GELU(),
            nn.Conv2d(mask_channels, prompt_dim, kernel_size=1),
        )  # fmt: skip

    def forward(
        self, points: Points | None, labels: Labels | None, boxes: Boxes | None, mask: Mask | None
    ) -> tuple[Prompts, Dense]:
        """Prompt tokens (B, P, N, C), none without clicks and boxes, and what is added to the image embedding."""
        tokens = []
        if points is not None and labels is not None:
            if boxes is None:
                points, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=PADDING)
            tokens.append(self.embed_points(points, labels))
        if boxes is not None:
            corners = rearrange(boxes, "b p (corners xy) -> b p corners xy", xy=2)
            labels = torch.tensor([TOP_LEFT, BOTTOM_RIGHT], device=boxes.device).expand(corners.shape[:-1])
            tokens.append(self.embed_points(corners, labels))
        tokens = tokens or [self.label_embed[None, None, :0]]  # (1, 1, 0, C)
        return torch.cat(tokens, dim=2), self.embed_mask(mask)

    def embed_points(self, points: Points, labels: Labels) -> Float[Tensor, "images prompts points dim"]:
        """Where it is and what it means, added; a padding point has a token of its own and no place.

        The point (0, 0) is the middle of the first pixel: half a pixel is added. S divides both coordinates.
        """
        tokens = self.encode_positions((points + 0.5) / self.side) + self.label_embed[labels.clamp(min=0)]
        return torch.where((labels == PADDING)[..., None], self.padding_embed, tokens)  # (B, P, N, C)

    def embed_mask(self, mask: Mask | None) -> Float[Tensor, "images prompts dim h w"]:
        """Features (B, P, C, h, w) of mask logits 4 times as fine as the grid; without a mask one learned vector."""
        if mask is None:
            return self.no_mask_embed[None, None, :, None, None].expand(1, 1, -1, self.grid, self.grid)
        features = self.mask_conv(rearrange(mask, "b p h w -> (b p) 1 h w"))
        return rearrange(features, "(b p) c h w -> b p c h w", b=len(mask))

    def encode_positions(self, places: Float[Tensor, "*any 2"]) -> Float[Tensor, "*any dim"]:
        """Random Fourier features of (x, y) between 0 and 1: sines, then cosines (Tancik et al. 2020)."""
        exact = torch.promote_types(self.frequencies.dtype, torch.float32)  # for angles of several turns
        angles = 2 * math.pi * (2 * places.to(exact) - 1) @ self.frequencies.to(exact)  # (..., C / 2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.frequencies.dtype)

    def encode_grid(self) -> Float[Tensor, "tokens dim"]:
        """The places of the image tokens (h w, C), the middle of each patch, in the same code as clicks."""
        exact = torch.promote_types(self.frequencies.dtype, torch.float32)
        middle = (torch.arange(self.grid, device=self.frequencies.device, dtype=exact) + 0.5) / self.grid
        return self.encode_positions(torch.cartesian_prod(middle, middle).flip(1))  # (y, x) -> (x, y)


class CrossAttention(nn.Module):
    """Attention between two sequences; inside, it may be narrower than the tokens.

    Args:
        dim: C, width of the tokens. inner_dim: width of q, k and v together; the heads share it.
    """

    def __init__(self, dim: int, inner_dim: int, num_heads: int):
        super().__init__()
        if inner_dim % num_heads:
            raise UserError(f"a decoder attention of {inner_dim} channels cannot be split into {num_heads} heads")
        self.num_heads = num_heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, inner_dim) for _ in range(3))
        self.out_proj = nn.Linear(inner_dim, dim)

    def forward(self, q: Tokens, k: Keys, v: Keys) -> Tokens:
        q, k, v = (
            rearrange(proj(x), "b n (heads d) -> b heads n d", heads=self.num_heads)
            for proj, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, d), scaled by the narrower width
        return self.out_proj(rearrange(mixed, "b heads n d -> b n (heads d)"))  # (B, N, C)


class TwoWayBlock(nn.Module):
    """Tokens look at each other, then at the image, think, and the image looks back at them (figure 14).

    Each step is normalised after its sum. Queries and keys get their places anew (`prompt`: the tokens as they came in,
    `positions`: the image's), values do not. The first self-attention sees none, and its answer replaces the tokens.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, *, eps: float, first: bool):
        super().__init__()
        self.first = first
        self.self_attn = CrossAttention(dim, dim, num_heads)
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.token_to_image = CrossAttention(dim, dim // 2, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, mlp_dim, activation=nn.ReLU)
        self.norm3 = nn.LayerNorm(dim, eps=eps)
        self.image_to_token = CrossAttention(dim, dim // 2, num_heads)
        self.norm4 = nn.LayerNorm(dim, eps=eps)

    def forward(
        self, tokens: Tokens, image: Keys, prompt: Tokens, positions: Float[Tensor, "keys dim"]
    ) -> tuple[Tokens, Keys]:
        if self.first:
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            tokens = self.norm1(tokens + self.self_attn(tokens + prompt, tokens + prompt, tokens))
        tokens = self.norm2(tokens + self.token_to_image(tokens + prompt, image + positions, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.image_to_token(image + positions, tokens + prompt, tokens))
        return tokens, image


def three_layers(dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    """Linear, ReLU, linear, ReLU, linear."""
    middle = nn.Linear(hidden_dim, hidden_dim)
    return nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU(), middle, nn.ReLU(), nn.Linear(hidden_dim, out_dim))


class MaskDecoder(nn.Module):
    """Image embedding and prompt tokens -> mask logits and predicted IoU (section 3, "Mask decoder"; appendix A).

    A learned token for the predicted IoU and one for each mask stand before the prompt tokens. After the two-way
    blocks each mask token makes the weights of a pixel classifier, which a dot product runs on the enlarged image.
    """

    def __init__(
        self, *, prompt_dim: int, depth: int, num_heads: int, mlp_dim: int, num_masks: int, iou_dim: int, eps: float
    ):
        super().__init__()
        self.iou_token = nn.Parameter(torch.randn(prompt_dim))
        self.mask_tokens = nn.Parameter(torch.randn(num_masks, prompt_dim))
        self.blocks = nn.ModuleList(
            TwoWayBlock(prompt_dim, num_heads, mlp_dim, eps=eps, first=layer == 0) for layer in range(depth)
        )
        self.final_attn = CrossAttention(prompt_dim, prompt_dim // 2, num_heads)
        self.final_norm = nn.LayerNorm(prompt_dim, eps=1e-5)  # also where the blocks have another
        self.upscale = nn.Sequential(
            nn.ConvTranspose2d(prompt_dim, prompt_dim // 4, 2, stride=2), ChannelNorm(prompt_dim // 4), nn.GELU(),
            nn.ConvTranspose2d(prompt_dim // 4, prompt_dim // 8, 2, stride=2), nn.GELU(),
        )  # fmt: skip
        self.mask_mlps = nn.ModuleList(three_layers(prompt_dim, prompt_dim, prompt_dim // 8) for _ in range(num_masks))
        self.iou_mlp = three_layers(prompt_dim, iou_dim, num_masks)

    def forward(
        self, embedding: Embedding, positions: Float[Tensor, "cells dim"], prompts: Prompts, dense: Dense
    ) -> tuple[Masks, IoUs]:
        """All masks' logits (B, P, M, 4 h, 4 w) and predicted IoUs (B, P, M)."""
        images, count = len(embedding), max(prompts.shape[1], dense.shape[1])
        own = torch.cat([self.iou_token[None], self.mask_tokens]).expand(images, count, -1, -1)  # (B, P, 1 + M, C)
        prompt = torch.cat([own, prompts.expand(images, count, -1, -1)], dim=2)  # (B, P, N, C)
        prompt = tokens = rearrange(prompt, "b p n c -> (b p) n c")
        image = (embedding[:, None] + dense).expand(images, count, -1, -1, -1)  # (B, P, C, h, w)
        image = rearrange(image, "b p c h w -> (b p) (h w) c")
        for block in self.blocks:
            tokens, image = block(tokens, image, prompt, positions)
        tokens = self.final_norm(tokens + self.final_attn(tokens + prompt, image + positions, image))
        fine = self.upscale(rearrange(image, "bp (h w) c -> bp c h w", h=embedding.shape[2]))  # (B P, C / 8, 4 h, 4 w)
        classifiers = torch.stack([mlp(tokens[:, 1 + mask]) for mask, mlp in enumerate(self.mask_mlps)], dim=1)
        mask_logits = einsum(classifiers, fine, "bp m c, bp c h w -> bp m h w")
        iou = self.iou_mlp(tokens[:, 0])  # (B P, M)
        return mask_logits.unflatten(0, (images, count)), iou.unflatten(0, (images, count))


class SAM(nn.Module):
    """Segment anything that a click, a box or a rough mask points at.

    Args:
        image_size: S of the padded square (`minimodels.pixels.preprocess_padded`); the positions are never resized.
        patch_size, embed_dim, depth, num_heads, mlp_dim: of the image encoder.
        window_size: tokens a side of the windows. global_blocks: blocks, counted from 0, that see the whole picture.
        prompt_dim: C, width of prompts and image embedding. mask_channels: see `PromptEncoder`.
        decoder_depth, decoder_heads, decoder_mlp_dim, decoder_eps: of the two-way blocks.
        num_masks: masks for an ambiguous prompt, beside the one for a clear prompt. iou_dim: width of the IoU head.

    Raises:
        UserError: `image_size` is no multiple of `patch_size`, or `prompt_dim` of 8.
    """

    def __init__(
        self,
        *,
        image_size: int = 1024,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        window_size: int = 14,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        prompt_dim: int = 256,
        mask_channels: int = 16,
        decoder_depth: int = 2,
        decoder_heads: int = 8,
        decoder_mlp_dim: int = 2048,
        decoder_eps: float = 1e-5,
        num_masks: int = 3,
        iou_dim: int = 256,
    ):
        super().__init__()
        if patch_size < 1 or image_size % patch_size or prompt_dim % 8:
            raise UserError(f"image_size {image_size} must be a multiple of {patch_size}, prompt_dim {prompt_dim} of 8")
        self.image_size, grid = image_size, image_size // patch_size
        self.image_encoder = ImageEncoder(
            grid=grid, patch_size=patch_size, embed_dim=embed_dim, depth=depth, num_heads=num_heads, mlp_dim=mlp_dim,
            window_size=window_size, global_blocks=global_blocks, prompt_dim=prompt_dim,
        )  # fmt: skip
        self.prompt_encoder = PromptEncoder(
            side=image_size, grid=grid, mask_channels=mask_channels, prompt_dim=prompt_dim
        )
        self.mask_decoder = MaskDecoder(
            depth=decoder_depth, num_heads=decoder_heads, mlp_dim=decoder_mlp_dim, num_masks=num_masks + 1,
            iou_dim=iou_dim, eps=decoder_eps, prompt_dim=prompt_dim,
        )  # fmt: skip

    def forward(
        self,
        image: Float[Tensor, "images 3 side side"],
        points: Points | None = None,
        labels: Labels | None = None,
        boxes: Boxes | None = None,
        mask: Mask | None = None,
        *,
        multimask: bool | None = True,
    ) -> tuple[Masks, IoUs]:
        """`decode(encode(image), ...)`."""
        return self.decode(self.encode(image), points, labels, boxes, mask, multimask=multimask)

    def encode(self, image: Float[Tensor, "images 3 side side"]) -> Embedding:
        """The image embedding (B, C, h, w) of normalised, padded pictures (S, S); made once, for any prompts."""
        if image.shape[-2:] != (self.image_size, self.image_size):
            raise UserError(
                f"this SAM reads pictures of {self.image_size} x {self.image_size} pixels, padded at the right and "
                f"bottom, here came {image.shape[-2]} x {image.shape[-1]}: its .preprocess makes them"
            )
        return self.image_encoder(image)

    def decode(
        self,
        embedding: Embedding,
        points: Points | None = None,
        labels: Labels | None = None,
        boxes: Boxes | None = None,
        mask: Mask | None = None,
        *,
        multimask: bool | None = True,
    ) -> tuple[Masks, IoUs]:
        """Mask logits (B, P, M, 4 h, 4 w), above 0 inside, and how much IoU each mask expects of itself (B, P, M).

        Each of P prompts is any mix of clicks, a box and a mask; all of a call are of one kind. One image's prompts
        (1, P, ...) serve every image. Without any, P is 1: the picture's main object. UserError where sizes do not fit.

        Args:
            embedding: what `encode` gave.
            points: (x, y) in pixels of the padded square, `labels` 1: belongs to it, 0: does not, -1: padding.
            boxes: x0, y0, x1, y1, in the same pixels.
            mask: logits of a mask 4 times as fine as the grid, as an earlier call gave them.
            multimask: True: three masks, for a prompt that may mean several things (whole, part ...). False: the one
                mask for a clear prompt. None: all four, the clear one first.
        """
        grid = self.image_encoder.grid
        if (cells := tuple(embedding.shape[-2:])) != (grid, grid):
            raise UserError(f"an embedding of {cells[0]} x {cells[1]} cells, expected {grid} x {grid}, from encode")
        check_prompts(len(embedding), grid, points, labels, boxes, mask)
        prompts, dense = self.prompt_encoder(points, labels, boxes, mask)
        mask_logits, iou = self.mask_decoder(embedding, self.prompt_encoder.encode_grid(), prompts, dense)
        wanted = {True: slice(1, None), False: slice(1), None: slice(None)}[multimask]
        return mask_logits[:, :, wanted], iou[:, :, wanted]

    def enlarge(
        self, mask_logits: Float[Tensor, "*masks fine_h fine_w"], inside: tuple[int, int], size: tuple[int, int]
    ) -> Float[Tensor, "*masks height width"]:
        """Mask logits at the picture's `size` (height, width): to the padded square, padding off, then to the picture.

        `inside` is the size that the picture has in the square; both are interpolated, never in one step.
        """
        masks = mask_logits.flatten(0, -3)[:, None]  # (all, 1, 4 h, 4 w)
        square = F.interpolate(masks, (self.image_size, self.image_size), mode="bilinear", align_corners=False)
        picture = F.interpolate(square[..., : inside[0], : inside[1]], size, mode="bilinear", align_corners=False)
        return picture[:, 0].unflatten(0, mask_logits.shape[:-2])


def check_prompts(
    images: int, grid: int, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, mask: Tensor | None
) -> None:
    """Counts and sizes, see `SAM.decode`. Labels are not looked at: commands make no others than these three."""
    if (points is None) != (labels is None):
        raise UserError("points and labels go together: give both, label 1 for inside, 0 for outside")
    given = {"points": points, "labels": labels, "boxes": boxes, "mask": mask}
    shapes = {name: tuple(prompt.shape) for name, prompt in given.items() if prompt is not None}
    counts = {shape[:2] for shape in shapes.values()}
    if len(counts) > 1 or any(count[0] not in (1, images) for count in counts):
        raise UserError(f"{images} images and prompts {shapes}: expected ({images} or 1, prompts, ...), all alike")
    if labels is not None and points is not None and labels.shape != points.shape[:-1]:
        raise UserError(f"points {shapes['points']} need labels {shapes['points'][:-1]}, here came {shapes['labels']}")
    if mask is not None and shapes["mask"][2:] != (4 * grid, 4 * grid):
        raise UserError(f"a mask prompt has {4 * grid} x {4 * grid} logits here, came {shapes['mask'][2:]}")
