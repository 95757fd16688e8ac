"""Swin: a transformer that looks around inside windows, and shifts the windows so that news travels (lesson 2.6).

Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", section 3. Two flavours of
one model share every part but one rule, in `SwinBlock.shift_here` and `FittedBlock.shift_here`:

    Swin            the classifier, for the picture size it was trained for: where a map fits into one window, the
                    window shrinks to the map and is not shifted. Equal to transformers and, where the map is as high
                    as wide, to timm; timm's own rule for other pictures is `each_axis` (`AxisBlock`).
    SwinBackbone    the segmentation flavour, for pictures of any size (LAVT's image side): the window never shrinks and
                    every other block is shifted, even where a small map is padded up to a single window. Equal to
                    transformers' SwinBackbone.

Follows the released weights: exact GELU, LayerNorm eps 1e-5 everywhere, no absolute positions, q, k and v with bias.

Notation: B batch    D embed_dim    H W pixels    h w map of tokens    W windows a map    N tokens a window
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from minimodels.blocks import MLP, Attention, split_patches
from minimodels.errors import UserError

# ---------------------------------------------------------------- windows


def split_windows(x: Float[Tensor, "batch h w dim"], side: int) -> Float[Tensor, "windows tokens dim"]:
    """A map cut into windows of `side` x `side` tokens, row by row: (B*W, N, D), the windows of a picture together."""
    return rearrange(x, "b (row y) (col x) d -> (b row col) (y x) d", y=side, x=side)


def join_windows(
    windows: Float[Tensor, "windows tokens dim"], side: int, h: int, w: int
) -> Float[Tensor, "batch h w dim"]:
    """The inverse of `split_windows`, for a map of h x w tokens."""
    rows, cols = h // side, w // side
    return rearrange(windows, "(b row col) (y x) d -> b (row y) (col x) d", row=rows, col=cols, y=side)


def pad_to_multiple(x: Float[Tensor, "batch h w dim"], side: int) -> Float[Tensor, "batch padded_h padded_w dim"]:
    """Zeros at the right and at the bottom, until `side` divides height and width."""
    right, bottom = -x.shape[2] % side, -x.shape[1] % side
    return F.pad(x, (0, 0, 0, right, 0, bottom)) if right or bottom else x


def same_region(
    h: int, w: int, side: int, shift: int | tuple[int, int], device: torch.device | None = None
) -> Bool[Tensor, "windows tokens tokens"]:
    """Who may see whom in a map of h x w that was rolled by `shift` (section 3.2, figure 4): (W, N, N).

    The roll brings tokens from the other end of the picture into the last row and column of windows: there, those that
    came around and those that did not are kept apart. A shift of two numbers is (down, across). (The official code
    draws three bands an axis; the first of them never shares a window with the others, so two give the same.)
    """
    down, across = (shift, shift) if isinstance(shift, int) else shift
    came_down = torch.arange(h, device=device) >= h - down  # (h,)
    came_across = torch.arange(w, device=device) >= w - across  # (w,)
    region = 2 * came_down[:, None].long() + came_across  # (h, w) 0 .. 3
    region = rearrange(region, "(row y) (col x) -> (row col) (y x)", y=side, x=side)  # (W, N)
    return region[:, :, None] == region[:, None, :]  # (W, N, N)


def relative_position_index(side: int, device: torch.device | str | None = None) -> Int[Tensor, "tokens tokens"]:
    """Which row of the bias table stands for the way from token b to token a: (N, N), in a window of side x side.

    (ya - yb + side-1) * (2 side-1) + (xa - xb + side-1): tokens row by row, as the released tables are ordered.
    """
    y = repeat(torch.arange(side, device=device), "y -> (y x)", x=side)  # (N,)
    x = repeat(torch.arange(side, device=device), "x -> (y x)", y=side)  # (N,)
    down, right = y[:, None] - y + side - 1, x[:, None] - x + side - 1  # (N, N), each 0 .. 2 side-2
    return down * (2 * side - 1) + right


# ---------------------------------------------------------------- block


class WindowAttention(Attention):
    """Attention inside windows, with one learned number a head for each relative position (section 3.2, eq. 4).

    Args:
        embed_dim, num_heads: see `Attention`.
        window_size: side of a window in tokens. The table has (2 window_size - 1)^2 rows.
    """

    index: Tensor

    def __init__(self, embed_dim: int, num_heads: int, window_size: int):
        super().__init__(embed_dim, num_heads)
        self.relative_bias_table = nn.Parameter(torch.randn((2 * window_size - 1) ** 2, num_heads) * 0.02)
        index = relative_position_index(window_size, device="cpu")  # real numbers even in a model of shapes only
        self.register_buffer("index", index, persistent=False)

    def forward(
        self, x: Float[Tensor, "windows tokens dim"], seen: Bool[Tensor, "map_windows tokens tokens"] | None = None
    ) -> Float[Tensor, "windows tokens dim"]:
        """Windows in, windows out; token i of a window looks at token j where `seen` (the same for each picture)."""
        q, k, v = self.split_heads(x)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(len(x), seen))
        return self.out_proj(rearrange(mixed, "windows heads n d -> windows n (heads d)"))  # (B*W, N, D)

    def weights(
        self, x: Float[Tensor, "windows tokens dim"], seen: Bool[Tensor, "map_windows tokens tokens"] | None = None
    ) -> Float[Tensor, "windows heads tokens tokens"]:
        """The same weights in the open, for a debugger or a figure."""
        q, k, _ = self.split_heads(x)
        scores = einsum(q, k, "windows heads i d, windows heads j d -> windows heads i j") * self.head_dim**-0.5
        return (scores + self.bias(len(x), seen)).softmax(dim=-1)  # the bias is added after the scale

    def bias(
        self, windows: int, seen: Bool[Tensor, "map_windows tokens tokens"] | None
    ) -> Float[Tensor, "#windows heads tokens tokens"]:
        """What is added to the scores: the table's number, and -inf (-100 in the official code) where not `seen`."""
        bias = rearrange(self.relative_bias_table[self.index], "i j heads -> 1 heads i j")
        if seen is None:
            return bias
        wall = rearrange(seen.to(bias.dtype), "w i j -> w 1 i j").log()  # 0 where seen, -inf elsewhere
        return repeat(bias + wall, "w heads i j -> (b w) heads i j", b=windows // len(seen))


class SwinBlock(nn.Module):
    """The pre-norm block on a map of tokens, its attention inside windows (section 3.1, eq. 3). Segmentation flavour.

    Args:
        embed_dim, num_heads, window_size: see `WindowAttention`.
        mlp_dim: hidden width of the MLP.
        shifted: every other block of a stage looks through windows shifted by half a window.
        drop_path: in training, each picture leaves out each of the two branches with this probability (Huang et al.
            2016, "Deep Networks with Stochastic Depth").
    """

    def __init__(
        self, embed_dim: int, num_heads: int, mlp_dim: int, window_size: int, shifted: bool, drop_path: float = 0.0
    ):
        super().__init__()
        self.window_size, self.shift, self.drop_path = window_size, window_size // 2 if shifted else 0, drop_path
        self.norm1 = nn.LayerNorm(embed_dim)
        self.attn = WindowAttention(embed_dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.mlp = MLP(embed_dim, mlp_dim)

    def forward(self, x: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch h w dim"]:
        x = x + self.drop(self.look_around(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))

    def look_around(self, x: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch h w dim"]:
        """Attention inside windows: pad, roll, cut, attend, and all of it back.

        Padding comes after the norm, and padded tokens are seen like any others: their keys and values are the bias of
        `qkv`. transformers and the official segmentation code pad before they roll, as here; timm pads afterwards.
        """
        h, w, side = x.shape[1], x.shape[2], self.window_size
        shift = self.shift_here(h, w)
        x = pad_to_multiple(x, side)  # (B, padded h, padded w, D)
        padded_h, padded_w = x.shape[1:3]
        seen = None
        if shift:
            x = torch.roll(x, (-shift, -shift), dims=(1, 2))  # up and to the left
            seen = same_region(padded_h, padded_w, side, shift, x.device)
        windows = self.attn(split_windows(x, side), seen)  # (B*W, N, D)
        x = join_windows(windows, side, padded_h, padded_w)  # (B, padded h, padded w, D)
        if shift:
            x = torch.roll(x, (shift, shift), dims=(1, 2))
        return x[:, :h, :w]  # (B, h, w, D)

    def shift_here(self, h: int, w: int) -> int:
        """The segmentation flavour shifts always, whatever the map's size."""
        return self.shift

    def drop(self, branch: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch h w dim"]:
        """Stochastic depth: some pictures lose the branch, for the others it grows, so that the mean stays."""
        if not self.training or not self.drop_path:
            return branch
        keep = torch.rand(len(branch), 1, 1, 1, device=branch.device) >= self.drop_path
        return branch * keep / (1 - self.drop_path)


class FittedBlock(SwinBlock):
    """The classifier's block: a map that fits into one window is not shifted."""

    def shift_here(self, h: int, w: int) -> int:
        """No shift where the map's shorter side fills no more than one window: everybody sees everybody already.

        Raises:
            UserError: the map is smaller than the window that the bias table was made for.
        """
        if min(h, w) < self.window_size:
            raise UserError(
                f"a map of {h} x {w} tokens is smaller than the window of {self.window_size} x {self.window_size} "
                "here; give a picture of the model's own size, or build the model for this image_size"
            )
        return 0 if min(h, w) == self.window_size else self.shift


class AxisBlock(SwinBlock):
    """timm's classifier block: shifted or not on each axis for itself, as the model's own picture size asks for.

    `shifts`, (down, across), are set once: what a larger picture would ask for changes nothing. And padding comes after
    the roll. On square pictures that need no padding both rules are the same.
    """

    def fit(self, h: int, w: int) -> None:
        """No shift on an axis where the map of the model's own picture size fills no more than one window."""
        self.shifts = (self.shift if h > self.window_size else 0, self.shift if w > self.window_size else 0)

    def look_around(self, x: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch h w dim"]:
        """Attention inside windows: roll, pad, cut, attend, and all of it back."""
        h, w, side, (down, across) = x.shape[1], x.shape[2], self.window_size, self.shifts
        x = pad_to_multiple(torch.roll(x, (-down, -across), dims=(1, 2)), side)  # (B, padded h, padded w, D)
        seen = same_region(x.shape[1], x.shape[2], side, self.shifts, x.device) if down or across else None
        x = join_windows(self.attn(split_windows(x, side), seen), side, *x.shape[1:3])
        return torch.roll(x[:, :h, :w], (down, across), dims=(1, 2))  # (B, h, w, D)


# ---------------------------------------------------------------- stages


class PatchMerging(nn.Module):
    """Each 2 x 2 tokens become one, twice as wide (section 3.1).

    Their channels lie side by side in the order of (row, column) (0, 0), (1, 0), (0, 1), (1, 1): down before right.
    A map of odd size gets a row or column of zeros.
    """

    def __init__(self, embed_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * embed_dim)
        self.reduction = nn.Linear(4 * embed_dim, 2 * embed_dim, bias=False)

    def forward(self, x: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch half_h half_w double_dim"]:
        x = rearrange(pad_to_multiple(x, 2), "b (h row) (w col) d -> b h w (col row d)", row=2, col=2)
        return self.reduction(self.norm(x))  # (B, h/2, w/2, 2 D)


class Stage(nn.Module):
    """Blocks of one width, every other one shifted; `merge` leads to the next stage (None in the last).

    `forward` runs the blocks alone, so that LAVT can put its words between them and the merge.
    """

    def __init__(self, blocks: Sequence[SwinBlock], merge: PatchMerging | None):
        super().__init__()
        self.blocks, self.merge = nn.ModuleList(blocks), merge

    def forward(self, x: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch h w dim"]:
        for block in self.blocks:
            x = block(x)
        return x


class SwinBackbone(nn.Module):
    """Swin for segmentation: maps of four sizes from a picture of any size.

    Args:
        patch_size: side of a square patch in pixels.
        embed_dim: D of the first stage; it doubles from stage to stage.
        depths, num_heads: blocks and heads of each stage.
        window_size: side of a window in tokens, one for all stages or one a stage.
        mlp_ratio: hidden width of an MLP over its D.
        drop_path: stochastic depth of the last block in training; it grows evenly from 0 in the first.
        output_norms: a LayerNorm on each map that `forward` gives (LAVT has its own, after the words came in).
    """

    block = SwinBlock

    def __init__(
        self,
        *,
        patch_size: int = 4,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int | Sequence[int] = 7,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        output_norms: bool = False,
    ):
        super().__init__()
        self.patch_size = patch_size
        self.patch_proj = nn.Linear(3 * patch_size * patch_size, embed_dim)
        self.patch_norm = nn.LayerNorm(embed_dim)
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        windows = [window_size] * len(depths) if isinstance(window_size, int) else window_size
        if not len(depths) == len(num_heads) == len(windows):
            raise UserError("depths, num_heads and windows have a number a stage")
        self.stages, self.norms = nn.ModuleList(), nn.ModuleList()
        for at, (depth, heads, window) in enumerate(zip(depths, num_heads, windows, strict=True)):
            dim, first = embed_dim * 2**at, sum(depths[:at])
            blocks = [
                self.block(dim, heads, round(dim * mlp_ratio), window, i % 2 == 1, rates[first + i])
                for i in range(depth)
            ]
            self.stages.append(Stage(blocks, PatchMerging(dim) if at + 1 < len(depths) else None))
            self.norms.append(nn.LayerNorm(dim) if output_norms else nn.Identity())

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """The map of each stage before its merge, finest first: (B, h, w, D), (B, h/2, w/2, 2 D) ... (rounded up)."""
        x, maps = self.embed(image), []
        for stage, norm in zip(self.stages, self.norms):
            x = stage(x)
            maps.append(norm(x))
            if stage.merge is not None:
                x = stage.merge(x)  # type: ignore[operator]  # (B, h/2, w/2, 2 D)
        return maps

    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch h w dim"]:
        """Patches projected and normalised; the picture gets zeros at the right and bottom up to whole patches."""
        right, bottom = -image.shape[3] % self.patch_size, -image.shape[2] % self.patch_size
        image = F.pad(image, (0, right, 0, bottom)) if right or bottom else image  # (B, 3, padded H, padded W)
        x = self.patch_proj(split_patches(image, self.patch_size))  # (B, h*w, D)
        return rearrange(self.patch_norm(x), "b (h w) d -> b h w d", h=image.shape[2] // self.patch_size)


# ---------------------------------------------------------------- classifier


def map_sizes(image_size: tuple[int, int], patch_size: int, stages: int) -> list[tuple[int, int]]:
    """(h, w) of each stage's map, rounded up."""
    steps = [patch_size * 2**stage for stage in range(stages)]
    return [(-(-image_size[0] // step), -(-image_size[1] // step)) for step in steps]


def fitted_windows(
    image_size: tuple[int, int], patch_size: int, stages: int, window_size: int | Sequence[int], each_axis: bool = False
) -> list[int]:
    """The window's side in each stage: as wished, or the shorter side of the stage's map where that is smaller.

    Raises:
        UserError: a map is smaller than its window `each_axis` for itself, which makes an oblong window.
    """
    wished = [window_size] * stages if isinstance(window_size, int) else window_size
    if len(wished) != stages:
        raise UserError(f"{len(wished)} windows for {stages} stages: window_size is one number, or a number a stage")
    sizes = map_sizes(image_size, patch_size, stages)
    fitted = [min(window, *size) for window, size in zip(wished, sizes, strict=True)]
    for (h, w), window, side in zip(sizes, wished, fitted):
        if each_axis and side < window and h != w:
            raise UserError(f"a map of {h} x {w} tokens for a window of {window}: timm's is oblong, ours are square")
    return fitted


class Swin(SwinBackbone):
    """Swin as a classifier: the last map normalised, averaged, one linear head.

    Args:
        image_size: (height, width) in pixels that the windows were fitted to. Pictures of other sizes are taken as long
            as no map is smaller than its window.
        num_classes: 0 leaves the head out and `forward` returns the pooled features.
        window_size: as wished, one for all stages or one a stage; where a stage's map is smaller, its window has the
            map's (shorter) side.
        each_axis: timm's rule in the place of the official one: see `AxisBlock`. The windows stay square: a map that is
            smaller than its window on one axis alone is refused (timm has oblong windows there).
        patch_size, embed_dim, depths, num_heads, mlp_ratio, drop_path: see `SwinBackbone`.

    Raises:
        UserError: `each_axis`, and a map smaller than its window on one axis alone.
    """

    def __init__(
        self,
        *,
        image_size: tuple[int, int] = (224, 224),
        patch_size: int = 4,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int | Sequence[int] = 7,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        drop_path: float = 0.0,
        each_axis: bool = False,
    ):
        self.block = AxisBlock if each_axis else FittedBlock
        super().__init__(
            patch_size=patch_size,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window_size=fitted_windows(image_size, patch_size, len(depths), window_size, each_axis),
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )
        if each_axis:
            for stage, size in zip(self.stages, map_sizes(image_size, patch_size, len(depths))):
                for block in stage.blocks:  # type: ignore[union-attr]
                    block.fit(*size)
        self.norm = nn.LayerNorm(embed_dim * 2 ** (len(depths) - 1))
        self.head = nn.Linear(self.norm.normalized_shape[0], num_classes) if num_classes else nn.Identity()

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:  # type: ignore[override]
        """Class logits (B, C) of normalised pictures; pooled features (B, D) without a head."""
        return self.head(reduce(self.encode(image), "b h w d -> b d", "mean"))  # (B, C)

    def encode(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch h w dim"]:
        """The last stage's map after the last norm."""
        return self.norm(super().forward(image)[-1])
