"""Prompts from a picture and a mask: show CLIP what is meant (lesson 4.3).

Lueddecke and Ecker 2022, section 3.2 and figure 3: CLIP embeds whole pictures, so the picture is changed until the
object is what it is about: the background blurred and darkened, the object cut out with some context, drawn around, or
the attention of the class token kept to it. `CLIPSeg.encode_image` turns the changed picture into a prompt.

All pictures here are normalised, as the models read them. So darkening multiplies normalised values: the background
goes to the grey that is the data set's mean, not to black. Nothing is changed in place (the released code's brightness
changes the caller's picture).

Notation: B pictures    H W pixels    h w patch grid    N tokens (class token included)    E embed_dim
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Shaped
from torch import Tensor

from minimodels.blocks import Block
from minimodels.clipseg import CLIPSeg, check_square
from minimodels.errors import UserError
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD  # what CLIPSeg's pictures are normalised by

GREY = (0.299, 0.587, 0.114)  # how bright red, green and blue look (ITU-R BT.601)
KERNEL = 15  # taps of the blur, whatever its sigma
OUTLINE = 3  # pixels that the outline reaches to each side of the contour

# ---------------------------------------------------------------- the background


def highlight(
    picture: Float[Tensor, "*batch 3 height width"],
    mask: Shaped[Tensor, "*mask_batch mask_height mask_width"],
    *,
    blur: float = 0.0,
    background: float = 1.0,
) -> Float[Tensor, "*batch 3 height width"]:
    """The object as it is, the background blurred and darkened.

    Args:
        picture: one or a batch, normalised.
        mask: of the object, 0 to 1 or bool, the picture's size; each picture of a batch has its own.
        blur: sigma of the Gaussian in pixels; 0 leaves the background sharp.
        background: factor of the background's normalised values: 1 keeps it, 0 makes it the data set's mean grey.

    Raises:
        UserError: a mask of another size or all zero.
    """
    inside = check_mask(picture, mask)[..., None, :, :].to(picture.dtype)  # (B, 1, H, W)
    behind = gaussian_blur(picture, blur) if blur > 0 else picture
    return picture * inside + background * behind * (1 - inside)


def gaussian_blur(
    picture: Float[Tensor, "*batch 3 height width"], sigma: float
) -> Float[Tensor, "*batch 3 height width"]:
    """A Gaussian of 15 x 15 taps, as OpenCV's: rows, then columns; the border mirrored without doubling its edge."""
    taps = torch.arange(KERNEL, dtype=torch.float64) - KERNEL // 2
    weights = torch.exp(-(taps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(picture)
    for axis in (-1, -2):
        size = picture.shape[axis]
        places = torch.arange(size, device=picture.device)[:, None] + taps.to(picture.device).long()  # (size, 15)
        period = max(2 * (size - 1), 1)
        places = places.abs() % period  # mirrored at 0, and as often as a small picture needs
        places = torch.minimum(places, period - places) if size > 1 else places * 0
        neighbours = picture.movedim(axis, -1)[..., places]  # (B, 3, other, size, 15)
        picture = einsum(neighbours, weights, "... size tap, tap -> ... size").movedim(-1, axis)
    return picture


# ---------------------------------------------------------------- the crop


def mask_box(mask: Shaped[Tensor, "height width"], context: float = 0.0) -> tuple[int, int, int, int]:
    """The box around a mask, (left, right, top, bottom), ends exclusive.

    `context` enlarges it on each side by that share of its own width or height, cut off at the picture's border and
    rounded towards zero. (The released code bounds x by the height and y by the width: the same on square pictures.)

    Raises:
        UserError: the mask is all zero.
    """
    rows, columns = torch.where(mask != 0)
    if not len(rows):
        raise UserError("the mask is all zero: it shows no object to cut out")
    ends = []
    for places, size in ((columns, mask.shape[1]), (rows, mask.shape[0])):
        low, high = int(places.min()), int(places.max()) + 1
        margin = context * (high - low)
        ends += [int(max(0, low - margin)), int(min(size, high + margin))]
    return ends[0], ends[1], ends[2], ends[3]


def crop_to_mask(
    picture: Float[Tensor, "*batch 3 height width"],
    mask: Shaped[Tensor, "*mask_batch mask_height mask_width"],
    *,
    size: int,
    context: float = 0.1,
) -> Float[Tensor, "*batch 3 size size"]:
    """The object with some context, padded with zeros (mean grey) to a square, resized to `size` pixels.

    Resized by the nearest pixel, as the released code does: `F.interpolate`'s default.

    Args:
        picture, mask: see `highlight`. size: of the result. context: see `mask_box`.

    Raises:
        UserError: a mask of another size or all zero.
    """
    check_mask(picture, mask)
    if picture.ndim == 4:
        return torch.stack([crop_to_mask(one, own, size=size, context=context) for one, own in zip(picture, mask)])
    left, right, top, bottom = mask_box(mask, context)
    width, height = right - left, bottom - top
    side = max(width, height)
    x, y = (side - width) // 2, (side - height) // 2
    square = F.pad(picture[:, top:bottom, left:right], (x, side - width - x, y, side - height - y))  # (3, side, side)
    return F.interpolate(square[None], (size, size), mode="nearest")[0]  # (3, size, size)


# ---------------------------------------------------------------- colour and line


def tint(
    picture: Float[Tensor, "*batch 3 height width"],
    mask: Shaped[Tensor, "*mask_batch mask_height mask_width"],
    *,
    background: float = 1.0,
    colour: Sequence[float] = (1.0, 0.2, 0.2),
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Float[Tensor, "*batch 3 height width"]:
    """A grey picture with the object coloured (the released code's colorize).

    Args:
        picture, mask: see `highlight`. background: factor of the grey outside, here in 0-1: 0 is black.
        colour: of the object, red, green and blue in 0-1. mean, std: what the picture was normalised by.
    """
    inside = check_mask(picture, mask)[..., None, :, :].to(picture.dtype)  # (B, 1, H, W)
    shown = denormalize(picture, mean, std)
    grey = (shown * channels(GREY, shown)).sum(dim=-3, keepdim=True)  # (B, 1, H, W)
    coloured = grey * channels(colour, shown) * inside + background * grey * (1 - inside)  # (B, 3, H, W)
    return renormalize(coloured, mean, std)


def outline(
    picture: Float[Tensor, "*batch 3 height width"],
    mask: Shaped[Tensor, "*mask_batch mask_height mask_width"],
    *,
    colour: Sequence[float] = (1.0, 0.0, 0.0),
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Float[Tensor, "*batch 3 height width"]:
    """The object drawn around by a line, seven pixels wide, over its outer contour; holes get none.

    Colours outside 0-1 are cut off, as the released code does.

    Args:
        picture, mask: see `highlight`. colour: of the line, red, green and blue in 0-1.
        mean, std: what the picture was normalised by.
    """
    line = contour_line(check_mask(picture, mask))[..., None, :, :].to(picture.dtype)  # (B, 1, H, W)
    drawn = channels(colour, picture) * line + denormalize(picture, mean, std) * (1 - line)
    return renormalize(drawn, mean, std)


def contour_line(mask: Shaped[Tensor, "*batch height width"]) -> Shaped[Tensor, "*batch height width"]:
    """Where the line runs, bool: pixels at most `OUTLINE` away from one of the object that touches the outside.

    The same pixels as OpenCV's contour drawn 5 thick: its segments join neighbours, and its pen is this disc.
    """
    if mask.ndim == 3:
        return torch.stack([contour_line(one) for one in mask])
    from scipy import ndimage  # slow to import

    solid = torch.from_numpy(ndimage.binary_fill_holes((mask != 0).cpu().numpy())).to(mask.device)  # (H, W)
    ringed = F.pad(solid, (1, 1, 1, 1))
    buried = ringed[:-2, 1:-1] & ringed[2:, 1:-1] & ringed[1:-1, :-2] & ringed[1:-1, 2:]
    reach = torch.arange(-OUTLINE, OUTLINE + 1, device=mask.device)
    disc = (reach[:, None] ** 2 + reach**2 <= OUTLINE**2).float()  # (7, 7)
    return F.conv2d((solid & ~buried).float()[None, None], disc[None, None], padding=OUTLINE)[0, 0] > 0.5


def denormalize(picture: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalised values back to 0-1, what lies outside cut off."""
    return (picture * channels(std, picture) + channels(mean, picture)).clamp(0, 1)


def renormalize(picture: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The inverse of `denormalize`."""
    return (picture - channels(mean, picture)) / channels(std, picture)


def channels(numbers: Sequence[float], picture: Tensor) -> Float[Tensor, "3 1 1"]:
    """One number a channel, ready to meet a picture."""
    return torch.tensor(numbers, dtype=picture.dtype, device=picture.device)[:, None, None]


# ---------------------------------------------------------------- the attention


def encode_masked_class(
    model: CLIPSeg,
    picture: Float[Tensor, "batch 3 height width"],
    mask: Shaped[Tensor, "mask_batch mask_height mask_width"],
    *,
    layers: Sequence[int] | None = None,
) -> Float[Tensor, "batch embed_dim"]:
    """A prompt whose class token looks at the object alone: its scores for all other patches are set to zero.

    Zero before the softmax, not minus infinity, as in the released code: what is masked keeps the weight of a score
    of zero.

    Args:
        model: whose image tower embeds the picture.
        picture: B normalised square pictures.
        mask: of the object, one a picture, the same size; resized to the patch grid by the nearest pixel.
        layers: the blocks that are masked, counted from 0; None masks all.

    Raises:
        UserError: a mask of another size, all zero, or so small that no patch is left; a picture that is not square.
    """
    seen = mask_tokens(model, picture, mask)  # (B, 1, 1, N)
    scale = torch.ones_like(seen).expand(-1, -1, seen.shape[-1], -1).clone()  # (B, 1, N, N)
    scale[:, :, :1] = seen
    return encode_scaled(model, picture, scale, layers=layers)


def encode_masked_patches(
    model: CLIPSeg,
    picture: Float[Tensor, "batch 3 height width"],
    mask: Shaped[Tensor, "mask_batch mask_height mask_width"],
    *,
    layers: Sequence[int] | None = None,
) -> Float[Tensor, "batch embed_dim"]:
    """A prompt whose patches look at the object's patches alone, while the class token looks at all of them.

    Arguments and errors as in `encode_masked_class`.
    """
    seen = mask_tokens(model, picture, mask)  # (B, 1, 1, N)
    scale = seen.expand(-1, -1, seen.shape[-1], -1).clone()  # (B, 1, N, N)
    scale[:, :, 0] = 1
    return encode_scaled(model, picture, scale, layers=layers)


def mask_tokens(model: CLIPSeg, picture: Tensor, mask: Tensor) -> Float[Tensor, "batch 1 1 tokens"]:
    """The mask as one number a token: 1 for the class token, then the patches row by row."""
    mask, patch_size = check_mask(picture, mask), model.clip.image_tower.patch_size
    check_square(picture, patch_size)
    side = picture.shape[-1] // patch_size
    small = F.interpolate(mask[:, None].to(picture.dtype), (side, side), mode="nearest")  # (B, 1, h, w)
    if not bool(small.flatten(1).any(dim=1).all()):
        raise UserError(
            f"the object is smaller than a patch: nothing of its mask is left on the {side} x {side} patch grid; "
            "use crop_to_mask first"
        )
    return F.pad(rearrange(small, "b 1 h w -> b 1 1 (h w)"), (1, 0), value=1.0)


def encode_scaled(
    model: CLIPSeg,
    picture: Float[Tensor, "batch 3 height width"],
    scale: Float[Tensor, "batch #heads tokens tokens"],
    *,
    layers: Sequence[int] | None = None,
) -> Float[Tensor, "batch embed_dim"]:
    """`CLIPSeg.encode_image` with the attention scores of some blocks multiplied by `scale` before their softmax."""
    x, tower = model.embed(picture), model.clip.image_tower
    for layer, block in enumerate(tower.blocks):
        x = scaled_block(block, x, scale) if layers is None or layer in layers else block(x)  # type: ignore[arg-type]
    return tower.proj(tower.norm_post(x[:, 0]))  # (B, E)


def scaled_block(
    block: Block, x: Float[Tensor, "batch tokens dim"], scale: Float[Tensor, "batch #heads tokens tokens"]
) -> Float[Tensor, "batch tokens dim"]:
    """A pre-norm block whose scores are multiplied: the attention spelled out, for no kernel knows this mask."""
    attn = block.attn
    q, k, v = attn.split_heads(block.norm1(x))
    scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * attn.head_dim**-0.5
    mixed = einsum((scores * scale).softmax(dim=-1), v, "b heads i j, b heads j d -> b heads i d")
    x = x + attn.out_proj(rearrange(mixed, "b heads n d -> b n (heads d)"))
    return x + block.mlp(block.norm2(x))


# ---------------------------------------------------------------- mixing, and the door


def mix(
    text: Float[Tensor, "*#prompts embed_dim"], picture: Float[Tensor, "*#prompts embed_dim"], text_weight: float
) -> Float[Tensor, "*mixed embed_dim"]:
    """A prompt between a text and a picture: text_weight * text + (1 - text_weight) * picture (section 3.2).

    Neither is normalised. The released models were trained with text weights from 0 to 0.5.
    """
    return text_weight * text + (1 - text_weight) * picture


def check_mask(picture: Tensor, mask: Tensor) -> Tensor:
    """The mask, if it fits the picture and shows something.

    Raises:
        UserError: another size or count, or (one of a batch) all zero.
    """
    if mask.shape != picture.shape[:-3] + picture.shape[-2:]:
        raise UserError(
            f"a mask of {tuple(mask.shape)} for a picture of {tuple(picture.shape)}: expected "
            f"{tuple(picture.shape[:-3] + picture.shape[-2:])}, one mask a picture, of its height and width"
        )
    empty = ~(mask != 0).flatten(-2).any(dim=-1)
    if bool(empty.any()):
        which = f"mask {int(empty.long().argmax())} of {len(mask)}" if mask.ndim == 3 else "the mask"
        raise UserError(f"{which} is all zero: it shows no object; mark what is meant, or prompt without a mask")
    return mask
