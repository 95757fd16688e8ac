"""Pictures to numbers and back: open anything, resize, crop, normalise, save.

`open_image` repairs a file once (rotation, depth, transparency, mode). Each preprocess class then repeats one reference
exactly, on the same PIL image. Resizing is PIL's own: its filters widen when a picture shrinks (antialiasing) and round
to 8 bits after each of the two passes, so no other routine gives the same pixels.

Notation: H W pixels of a picture. Sizes are (height, width) as in tensors; only PIL itself says (width, height).
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from minimodels.errors import UserError, write_aside

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)

MAX_PIXELS = 128_000_000  # no larger picture is decoded or made by resizing: 8 bit RGB of this size takes 384 MB
# File formats that carry a signature. Those that start another program (EPS) or take any bytes (TGA) are left out.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "ICO", "ICNS", "PPM", "PSD", "QOI")

# ---------------------------------------------------------------- opening


def open_image(path: str | Path) -> Image.Image:
    """Open a picture of any common kind as 8 bit RGB, upright; of an animation the first frame.

    See `repair` for what is repaired. Colour profiles are ignored, as the reference libraries do.

    Raises:
        UserError: no such file, a folder, empty, not a picture, damaged or cut short, or more than `MAX_PIXELS` pixels.
    """
    path = Path(path)
    _check_file(path)
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:  # PIL warns of large pictures and odd metadata: its errors count, its remarks do not
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=formats) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            return repair(picture)
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{path} {_what_it_is(path)}") from error
    except Image.DecompressionBombError as error:
        most = f"at most {MAX_PIXELS // 1_000_000} million pixels are decoded"
        raise UserError(f"{path} is too large: {most}; make it smaller first") from error
    except Exception as error:  # PIL's decoders fail on damaged files in many ways, not only with OSError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged or cut short ({reason}); get it again, or save it anew as PNG") from error


def repair(image: Image.Image) -> Image.Image:
    """Make any PIL image upright 8 bit RGB: EXIF rotation, then depth, then transparency, then mode.

    16 bit grey levels are scaled to 8 bits (65535 becomes 255), floats from 0-1 or 0-255; a wider range is stretched
    from its smallest to its largest value. Transparent pixels are blended with white, as transformers does. CMYK,
    palettes and all others are PIL's own `convert("RGB")`.
    """
    image.load()
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block is no reason to refuse a picture that decoded well
        image = image.copy()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _grey_to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    image.info = {}  # rotation, transparency and profile are dealt with: nobody shall apply them again
    return image


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16 or 32 bit integers or floats to 8 bits, rounded to the nearest level."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    values = np.where(np.isfinite(values), values, 0).astype(np.float64)
    low, high = values.min(), values.max()
    white = 65535.0 if image.mode == "I" else 1.0 if high <= 1 else 255.0
    if low < 0 or high > white:
        values, white = values - low, (high - low) or 1.0
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder, expected a picture file")
        if not path.exists():
            raise UserError(f"{path} does not exist; check the name and the folder")
        if not path.is_file():
            raise UserError(f"{path} is not an ordinary file, expected a picture")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty (0 bytes); copy or download it again")
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _what_it_is(path: Path) -> str:
    """Say what a file without a picture's signature seems to be, and what to do."""
    with path.open("rb") as file:
        head = file.read(256)
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "is a HEIC photograph, which PIL cannot read; export it as JPEG or PNG"
    if head.startswith(b"%PDF") or b"<svg" in head:
        return "is a page or drawing, not a picture of pixels; export it as PNG"
    if head.isascii() and b"\0" not in head:
        return "is text, not a picture; expected PNG, JPEG, WebP, GIF, TIFF, BMP ..."
    return "is not a picture that can be read, or its start is damaged; expected PNG, JPEG, WebP, GIF, TIFF, BMP ..."


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
    reference. Radford et al. 2021; the released code's `_transform`.
    """

    size: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __post_init__(self) -> None:
        _check_numbers([self.size], self.mean, self.std)

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        image = center_crop(resize_shorter_side(image, self.size), self.size, self.size)
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
        _check_numbers([self.size], self.mean, self.std)
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
        _check_numbers([*sizes, *(self.crop or ())], self.mean or HALF, self.std or HALF)

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
    def from_config(cls, config: Mapping[str, Any]) -> "TransformersPreprocess":
        """Read the content of a preprocessor_config.json, new or old style, of a CLIP or ViT image processor.

        Raises:
            UserError: another kind of processor, or a setting this class does not have.
        """
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
        if not kind:
            kind = "CLIP" if "crop_size" in config else "ViT"
        known = next((name for name in TRANSFORMERS_DEFAULTS if kind.startswith(name)), None)
        if known is None or config.get("do_pad"):
            raise UserError(
                f"preprocessor_config.json describes {kind or 'padding'}; known are CLIP's and ViT's, no padding"
            )
        told = TRANSFORMERS_DEFAULTS[known] | {key: value for key, value in config.items() if value is not None}
        normalised = told["do_normalize"]
        try:
            return cls(
                size=_read_size(told["size"], square=known == "ViT") if told["do_resize"] else None,
                crop=_read_pair(told["crop_size"]) if told["do_center_crop"] else None,
                resample=int(told["resample"]),
                rescale_factor=float(told["rescale_factor"]) if told["do_rescale"] else None,
                mean=_read_triple(told["image_mean"]) if normalised else None,
                std=_read_triple(told["image_std"]) if normalised else None,
                convert_rgb=bool(told["do_convert_rgb"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"preprocessor_config.json cannot be used: {error}") from error


_BOTH = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
TRANSFORMERS_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": _BOTH
    | {"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 224, "resample": 3}
    | {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "do_convert_rgb": True},
    "ViT": _BOTH
    | {"size": {"height": 224, "width": 224}, "do_center_crop": False, "resample": 2}
    | {"image_mean": HALF, "image_std": HALF, "do_convert_rgb": False},
}


def _read_size(size: Any, square: bool) -> int | tuple[int, int]:
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"])
    if isinstance(size, int) and not square:
        return size
    return _read_pair(size)


def _read_pair(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        return int(size["height"]), int(size["width"])
    if isinstance(size, Mapping):
        raise ValueError(f"size {dict(size)}, expected shortest_edge, or height and width")
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _read_triple(numbers: Any) -> tuple[float, ...]:
    values = [numbers] * 3 if isinstance(numbers, int | float) else numbers
    if len(values) != 3:
        raise ValueError(f"{len(values)} means or deviations, expected 3")
    return tuple(float(value) for value in values)


def _rgb_on_white(image: Image.Image) -> Image.Image:
    """RGB, transparent pixels blended with white; 16 bits are clipped by PIL's conversion, as in the reference."""
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


def _check_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise UserError(f"the image has mode {image.mode!r}, expected 'RGB': open it with minimodels.images.open_image")


def _check_numbers(sizes: Sequence[int], mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse numbers that no preprocess has; they may come from a file that somebody sent."""
    if not all(1 <= size <= 8192 for size in sizes):
        raise UserError(f"a picture size of {list(sizes)} pixels, expected 1 to 8192")
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, [*mean, *std])) or min(std) <= 0:
        raise UserError(f"mean {tuple(mean)} and std {tuple(std)}, expected three numbers each, std above 0")


Preprocess = Callable[[Image.Image], Tensor]  # what all of them are
PREPROCESSES: dict[str, type[Any]] = {  # images_tensor.py adds its own
    cls.__name__: cls for cls in (CLIPPreprocess, TimmPreprocess, TransformersPreprocess)
}


def preprocess_to_dict(preprocess: Preprocess) -> dict[str, Any]:
    """The class and numbers of a preprocess, ready for JSON; `preprocess_from_dict` reads them back."""
    return {"class": type(preprocess).__name__, **asdict(preprocess)}  # type: ignore[call-overload]


def preprocess_from_dict(about: Mapping[str, Any]) -> Preprocess:
    """Build a preprocess from what `preprocess_to_dict` gave, also after a trip through JSON.

    Raises:
        UserError: an unknown class or unknown numbers.
    """
    numbers = {name: tuple(value) if isinstance(value, list) else value for name, value in about.items()}
    cls: type[Any] | None = PREPROCESSES.get(str(numbers.pop("class", None)))
    try:
        if cls is not None:
            return cls(**numbers)
    except TypeError:
        pass  # unknown numbers: the same message
    raise UserError(f"unknown preprocessing {dict(about)}; known classes: {', '.join(PREPROCESSES)}")


# ---------------------------------------------------------------- saving


def save_picture(image: Image.Image, path: str | Path) -> None:
    """Write a picture whole or not at all; the ending of `path` names the format.

    Raises:
        UserError: an ending that is no picture format, or a folder that cannot be written.
    """
    with write_aside(check_ending(path)) as aside:
        (image if image.mode in ("L", "RGB") else repair(image)).save(aside)


def check_ending(path: str | Path) -> Path:
    """The same path. Raises UserError when its ending names no picture format that `save_picture` can write."""
    path, endings = Path(path), (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp")
    if path.suffix.lower() not in endings:
        raise UserError(f"cannot write {path}: the ending says no picture format; choose .png, .jpg or .webp")
    return path
