"""Pictures to numbers, as each library does it: resize, crop, normalise.

`open_image` has repaired the file. Each preprocess class repeats one reference exactly, on the same PIL image. Resizing
is PIL's own: its filters widen when a picture shrinks (antialiasing) and round to 8 bits after each of the two passes,
so no other routine gives the same pixels.

Notation: H W pixels of a picture. Sizes are (height, width) as in tensors; only PIL itself says (width, height).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, shown
from minimodels.pixels.opening import MAX_PIXELS

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
SMALLEST, LARGEST = 1e-6, 1e6  # a mean and a deviation beyond make no numbers in float32


# ---------------------------------------------------------------- the four steps


def resize_shorter_side(image: Image.Image, size: int, resample: int = Image.Resampling.BICUBIC) -> Image.Image:
    """Resize so that the shorter side is `size` pixels; the longer one is rounded down, as torchvision does.

    Raises:
        UserError: so long and narrow that the result would have more than `MAX_PIXELS` pixels.
    """
    short, long = sorted(image.size)
    longer = int(size * long / short)
    if size * longer > MAX_PIXELS:
        raise UserError(f"the picture is too narrow: {image.width} x {image.height} pixels; crop it first")
    return image.resize((size, longer) if image.width <= image.height else (longer, size), resample)


def center_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Cut (height, width) out of the middle; a smaller picture is padded with zeros. Rounds as torchvision does.

    An odd rest is halved to the even offset (1.5 becomes 2, 2.5 becomes 2); padding puts the odd row below and right.
    """

    def offset(have: int, want: int) -> int:
        return round((have - want) / 2) if have >= want else -((want - have) // 2)

    top, left = offset(image.height, height), offset(image.width, width)
    return image.crop((left, top, left + width, top + height))  # outside the picture PIL gives zeros


def center_crop_down(image: Image.Image, height: int, width: int) -> Image.Image:
    """Cut (height, width) out of the middle as transformers does: all offsets rounded down, 1.5 becomes 1."""
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))


def to_tensor(image: Image.Image) -> Float[Tensor, "3 height width"]:
    """8 bit RGB -> float32 in 0-1, (3, H, W): divided by 255 in float32."""
    pixels = torch.from_numpy(np.array(image))  # (H, W, 3)
    return rearrange(pixels, "h w c -> c h w").contiguous().float() / 255  # (3, H, W)


def normalize(
    image: Float[Tensor, "3 height width"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "3 height width"]:
    """Subtract `mean` and divide by `std`, one number a channel."""
    return (image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


# ---------------------------------------------------------------- named preprocesses


@dataclass(frozen=True)
class CLIPPreprocess:
    """OpenAI's and open_clip's order: bicubic resize of the shorter side, centre crop, RGB, 0-1, normalise.

    The image becomes RGB last, so transparent, palette and grey pictures are resized in their own mode and lose
    transparency without blending. Give it what `open_image` returns to be safe; given any PIL image it equals the
    reference. Radford et al. 2021; the released code's `_transform`. Some of open_clip's weights were trained on
    bilinear pictures, some on pictures squashed to the square instead of cropped: `interpolation`, `squash`.
    """

    size: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    interpolation: str = "bicubic"
    squash: bool = False

    def __post_init__(self) -> None:
        check_numbers([self.size], self.mean, self.std)
        if self.interpolation not in ("bicubic", "bilinear"):
            raise UserError(f"interpolation {self.interpolation!r} is none that CLIP has: bicubic, bilinear")

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        resample = Image.Resampling[self.interpolation.upper()]
        if self.squash:
            image = image.resize((self.size, self.size), resample)
        else:
            image = center_crop(resize_shorter_side(image, self.size, resample), self.size, self.size)
        return normalize(to_tensor(image.convert("RGB")), self.mean, self.std)


@dataclass(frozen=True)
class TimmPreprocess:
    """timm's evaluation transform: resize of the shorter side to size / crop_pct, centre crop, 0-1, normalise.

    Takes RGB only, as the reference does.
    """

    size: int
    crop_pct: float = 0.9
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF

    def __post_init__(self) -> None:
        check_numbers([self.size], self.mean, self.std)
        if self.interpolation.upper() not in Image.Resampling.__members__ or not 0 < self.crop_pct <= 4:
            raise UserError(f"interpolation {self.interpolation!r} or crop_pct {self.crop_pct} is none that timm has")

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        _check_rgb(image)
        resample = Image.Resampling[self.interpolation.upper()]
        image = resize_shorter_side(image, math.floor(self.size / self.crop_pct), resample)
        return normalize(to_tensor(center_crop(image, self.size, self.size)), self.mean, self.std)


@dataclass(frozen=True)
class TransformersPreprocess:
    """The PIL-backed image processors of transformers for CLIP and ViT: RGB, resize, centre crop, 0-1, normalise.

    The image becomes RGB first (transparent pixels blended with white). `size` is the shorter side, or (height, width)
    exactly, or None: not resized. `crop` None: not cropped. `resample` is PIL's number: 2 bilinear, 3 bicubic.
    `rescale_factor` None: levels stay 0-255. `mean` and `std` None: not normalised. Without `convert_rgb` it takes RGB
    only, as the reference does.
    """

    size: int | tuple[int, int] | None
    crop: tuple[int, int] | None = None
    resample: int = 3
    rescale_factor: float | None = 1 / 255
    mean: tuple[float, ...] | None = CLIP_MEAN
    std: tuple[float, ...] | None = CLIP_STD
    convert_rgb: bool = True

    def __post_init__(self) -> None:
        sizes = [self.size] if isinstance(self.size, int) else self.size or ()
        check_numbers([*sizes, *(self.crop or ())], self.mean or HALF, self.std or HALF)
        check_resample(self.resample)
        if self.rescale_factor is not None and not 0 < self.rescale_factor <= 1:
            raise UserError(f"a rescale_factor of {self.rescale_factor}, expected more than 0 and at most 1")

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        if self.convert_rgb:
            image = _rgb_on_white(image)
        _check_rgb(image)
        if isinstance(self.size, int):
            image = resize_shorter_side(image, self.size, self.resample)
        elif self.size is not None:
            image = image.resize(self.size[::-1], self.resample)
        if self.crop is not None:
            image = center_crop_down(image, *self.crop)
        pixels = rearrange(torch.from_numpy(np.array(image)), "h w c -> c h w").contiguous()  # (3, H, W)
        if self.rescale_factor is not None:
            pixels = (pixels.double() * self.rescale_factor).float()  # multiplied in float64, unlike `to_tensor`
        pixels = pixels.float()
        return pixels if self.mean is None or self.std is None else normalize(pixels, self.mean, self.std)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], usual: str = "ViT") -> "TransformersPreprocess":
        """Read the content of a preprocessor_config.json, new or old style, of a CLIP or ViT image processor.

        `usual` is the processor ("CLIP" or "ViT") that transformers takes for the model where the config names none.
        A step (`do_resize` ...) whose value is null is left out, as transformers does.

        Raises:
            UserError: another kind of processor, or a setting this class does not have.
        """
        given = Settings(config, "preprocessor_config.json")
        kind = given.text("image_processor_type", "") or given.text("feature_extractor_type", "") or usual
        known = next((name for name in TRANSFORMERS_DEFAULTS if kind.startswith(name)), None)
        if known is None or given.truth("do_pad", False):
            raise UserError(
                f"preprocessor_config.json describes {shown(kind)}; known are CLIP's and ViT's, without padding"
            )
        off = {key: False for key in given.nulls if key.startswith("do_")}  # as there
        told = Settings(TRANSFORMERS_DEFAULTS[known] | dict(given) | off, given.where)
        normalised = told.truth("do_normalize")
        return cls(
            size=_read_size(told, square=known == "ViT") if told.truth("do_resize") else None,
            crop=_read_pair(told, "crop_size") if told.truth("do_center_crop") else None,
            resample=told.whole("resample", least=0),
            rescale_factor=told.number("rescale_factor", above=0) if told.truth("do_rescale") else None,
            mean=_read_triple(told, "image_mean") if normalised else None,
            std=_read_triple(told, "image_std") if normalised else None,
            convert_rgb=told.truth("do_convert_rgb"),
        )


_BOTH = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
TRANSFORMERS_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": _BOTH
    | {"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 224, "resample": 3}
    | {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "do_convert_rgb": True},
    "ViT": _BOTH
    | {"size": {"height": 224, "width": 224}, "do_center_crop": False, "resample": 2}
    | {"image_mean": HALF, "image_std": HALF, "do_convert_rgb": False},
}


def _read_size(told: Settings, square: bool) -> int | tuple[int, int]:
    edge: int
    size = told["size"]
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        edge = told.inside("size").whole("shortest_edge")
        return edge
    if isinstance(size, int) and not square:
        edge = told.whole("size")
        return edge
    return _read_pair(told, "size")


def _read_pair(told: Settings, key: str) -> tuple[int, int]:
    size = told[key]
    if isinstance(size, Mapping):
        sides = told.inside(key)
        if set(size) != {"height", "width"}:
            raise UserError(f"{sides.where} has {shown(list(size))}, expected shortest_edge, or height and width")
        return sides.whole("height"), sides.whole("width")
    height, width = [told.whole(key)] * 2 if isinstance(size, int) else told.wholes(key, count=2)
    return height, width


def _read_triple(told: Settings, key: str) -> tuple[float, ...]:
    same = isinstance(told[key], int | float)
    numbers: tuple[float, ...] = (told.number(key),) * 3 if same else told.numbers(key, count=3)
    return numbers


def _rgb_on_white(image: Image.Image) -> Image.Image:
    """RGB, transparent pixels blended with white; 16 bits are clipped by PIL's conversion, as in the reference."""
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


def _check_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise UserError(
            f"the image has mode {image.mode!r}, expected 'RGB': open it with minimodels.pixels.opening.open_image"
        )


def check_numbers(sizes: Sequence[int], mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse numbers that no preprocess has; they may come from a file that somebody sent.

    Raises:
        UserError: a size that is no picture's, means and deviations that are not three each or make no numbers.
    """
    if not all(1 <= size <= 8192 for size in sizes):
        raise UserError(f"a picture size of {list(sizes)} pixels, expected 1 to 8192")
    fit = all(abs(number) <= LARGEST for number in mean) and all(SMALLEST <= number <= LARGEST for number in std)
    if len(mean) != 3 or len(std) != 3 or not fit:
        raise UserError(f"mean {tuple(mean)} and std {tuple(std)}, expected three numbers each, std above 0")


def check_resample(resample: int) -> None:
    """Refuse what is none of PIL's six filters, 0 to 5.

    Raises:
        UserError: it is none.
    """
    if resample not in [*Image.Resampling]:
        raise UserError(f"a resample of {resample}, expected one of PIL's filters: 0 to {max(Image.Resampling)}")


Preprocess = Callable[[Image.Image], Tensor]  # what all of them are


def preprocess_to_dict(preprocess: Preprocess) -> dict[str, Any]:
    """The class and numbers of a preprocess, ready for JSON; `stored.models.preprocess_from_dict` reads them back."""
    return {"class": type(preprocess).__name__, **asdict(preprocess)}  # type: ignore[call-overload]
