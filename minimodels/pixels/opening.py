"""Pictures from files and into files.

`open_image` repairs rotation, mode and depth once; `save_picture` writes whole or not at all.
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from minimodels.errors import UserError
from minimodels.errors.aside import write_aside

MAX_PIXELS = 128_000_000  # no larger picture is decoded or made by resizing: 8 bit RGB of this size takes 384 MB
MAX_SIDE = 2**18  # Pillow resizes rows first: 1 x 100 million pixels made 1024 wide would take 400 GB on the way
# File formats that carry a signature. Those that start another program (EPS) or take any bytes (TGA) are left out.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "ICO", "ICNS", "PPM", "PSD", "QOI")


def open_image(path: str | Path) -> Image.Image:
    """Open a picture of any common kind as 8 bit RGB, upright; of an animation the first frame.

    See `repair` for what is repaired. Colour profiles are ignored, as the reference libraries do.

    Raises:
        UserError: no such file, a folder, empty, not a picture, damaged or cut short, or more than `MAX_PIXELS` pixels
            or `MAX_SIDE` a side.
    """
    path = Path(path)
    _check_file(path)
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:  # PIL warns of large pictures and odd metadata: its errors count, its remarks do not
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=formats) as picture:
            if picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_SIDE:
                raise Image.DecompressionBombError
            return repair(picture)
    except MemoryError:
        raise  # a large picture, not a damaged one
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{path} {_what_it_is(path)}") from error
    except Image.DecompressionBombError as error:
        most = f"at most {MAX_PIXELS // 1_000_000} million pixels, {MAX_SIDE:,} a side, are decoded"
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


def check_output(path: str | Path, *inputs: str | Path) -> Path:
    """The same path, if a picture can be written there without loss of one that is read.

    Raises:
        UserError: an ending that is no picture format, a folder or a pipe in its place, one of the inputs.
    """
    path = check_ending(path)
    try:
        if path.exists() and not path.is_file():
            raise UserError(
                f"cannot write {path}: there is a {'folder' if path.is_dir() else 'pipe or device'} so named"
            )
        if any(path.exists() and Path(one).exists() and path.samefile(one) for one in inputs):
            raise UserError(
                f"cannot write {path}: it is one of the pictures that are read; choose another name with -o"
            )
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Choose another name.") from error
    return path
