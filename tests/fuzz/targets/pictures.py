"""Pictures: damaged files of every format, extreme sizes, all modes, opened and handed to every command."""

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from minimodels.__main__ import main
from minimodels.pixels.opening import FORMATS, open_image
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.command import command
from tests.fuzz.odd import damaged
from tests.fuzz.targets import own_files
from tests.fuzz.targets.options import write_inputs

KINDS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "ICO", "PPM")
MODES = ("RGB", "L", "LA", "RGBA", "P", "1", "I;16", "I", "F", "CMYK", "YCbCr")
SIZES = (
    (1, 1),
    (1, 20000),
    (20000, 1),
    (3, 5000),
    (5000, 3),
    (2, 2),
    (33, 17),
    (64, 64),
    (1, 64),
    (257, 3),
    (640, 8),
    (8, 900),
)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("zero-shot", "x.png", "a dog", "a cat", "--model", "own.safetensors"),
    ("zero-shot", "x.png", "a dog", "a cat"),
    ("compare", "x.png", "a dog", "a cat"),
    ("segment", "x.png", "a dog", "-o", "out.png"),
    ("segment", "x.png", "the dog on the left", "--model", "tiny-lavt", "--masks", "masks"),
    ("segment", "x.png", "--point", "0,0", "--model", "tiny-sam"),
    ("segment", "x.png", "--box", "0,0,1,1", "--model", "tiny-sam"),
    ("segment", "a.png", "--prompt-image", "x.png"),
    ("match", "x.png", "a.png"),
    ("match", "a.png", "mask.png", "x.png"),
    ("match", "a.png", "x.png", "b.png"),
    ("search", ".", "a dog", "--model", "own.safetensors", "--top", "2"),
    ("search", ".", "--like", "x.png", "--model", "own.safetensors"),
)


def picture(rng: Random, size: tuple[int, int], mode: str) -> Image.Image:
    """Noise of that size and mode."""
    pixels = np.frombuffer(rng.randbytes(size[0] * size[1] * 3), np.uint8).reshape(size[1], size[0], 3)
    image = Image.fromarray(pixels)
    if mode in ("I;16", "I", "F"):
        return image.convert("L").convert("I").convert(mode) if mode != "F" else image.convert("F")
    return image.convert(mode)


@cache
def files() -> list[bytes]:
    """Small pictures of every format and mode that PIL writes."""
    found = []
    for kind in KINDS:
        for mode in MODES:
            buffer = io.BytesIO()
            image = picture(Random(mode), (13, 9), mode)
            more = (
                {"save_all": True, "append_images": [image]} if kind in ("GIF", "TIFF") and mode in ("L", "P") else {}
            )
            exif = Image.Exif()
            exif[274] = 6
            more |= {"exif": exif.tobytes()} if kind in ("JPEG", "PNG", "WEBP") and mode == "RGB" else {}
            try:
                image.save(buffer, kind, **more)
            except (OSError, KeyError, ValueError):
                continue
            found.append(buffer.getvalue())
    return found


PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}  # PIL converts these to nothing else


def make_open(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """One damaged."""
    data = rng.choice(files())
    return {}, {"x.png": damaged(rng, data, files()) if rng.random() < 0.97 else data}


def run_open(values: Mapping[str, Any], folder: Path) -> str:
    """Open it: upright 8 bit RGB, and where PIL needs no repair the same pixels."""
    image = open_image(folder / "x.png")
    if image.mode != "RGB" or image.width * image.height < 1:
        raise Wrong(f"opened as {image.mode} {image.size}")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(folder / "x.png", formats=FORMATS) as theirs:
            theirs.load()
            plain = theirs.mode in ("RGB", "CMYK", "YCbCr", "1", "L") and not theirs.has_transparency_data
            whole = theirs.convert(PREMULTIPLIED[theirs.mode]) if theirs.mode in PREMULTIPLIED else theirs
            same = np.array_equal(np.asarray(image), np.asarray(whole.convert("RGB")))
            turned = has_exif(theirs)
    except Exception as error:  # PIL's decoders fail in many ways
        raise Wrong(f"opened what PIL refuses: {error}") from None
    if plain and not turned and not same:
        raise Wrong("other pixels than PIL's")
    return "opened"


def has_exif(picture: Image.Image) -> bool:
    """Whether something says that the picture is to be turned, or is too broken to say so."""
    try:
        return picture.getexif().get(274, 1) != 1
    except Exception:  # a broken block of it
        return True


def make_asked(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A picture of any size, or a damaged one, and a command."""
    words = list(rng.choice(COMMANDS))
    if rng.random() < 0.25:
        return {"words": words}, {"x.png": damaged(rng, rng.choice(files()))}
    buffer = io.BytesIO()
    picture(rng, rng.choice(SIZES), rng.choice(("RGB", "RGB", "L", "RGBA", "P", "1"))).save(buffer, "PNG")
    return {"words": words}, {"x.png": buffer.getvalue()}


def run_asked(values: Mapping[str, Any], folder: Path) -> str:
    """Ask."""
    write_inputs(folder)
    code, _ = command(main, *values["words"])
    return {0: "answered", 2: "refused"}[code]


def make_huge(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A header that claims a great deal, over real data or none."""
    width, height = rng.choice(
        ((11000, 11600), (11000, 11000), (20000, 20000), (128_000_000, 1), (1, 100_000_000), (2**31 - 1, 1), (0, 5))
    )
    depth, kind = rng.choice(((1, 0), (8, 2), (16, 6), (8, 3)))
    row = (width * depth * {0: 1, 2: 3, 6: 4, 3: 1}[kind] + 7) // 8 + 1
    data = zlib.compress(bytes(min(row * height, rng.choice((1000, 50_000_000)))), 1)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    palette = chunk(b"PLTE", bytes(768)) if kind == 3 else b""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return {"words": list(rng.choice(COMMANDS)) if rng.random() < 0.3 else []}, {"x.png": png}


def run_huge(values: Mapping[str, Any], folder: Path) -> str:
    """Open it or ask."""
    if values["words"]:
        return run_asked(values, folder)
    try:
        open_image(folder / "x.png")
    except MemoryError:  # the machine's own failure; commands say so in one line
        return "too large for this process"
    return "opened"


def prepare() -> None:
    files()
    own_files.own()


TARGETS = [
    Target("picture-open", make_open, run_open, prepare, seconds=30, megabytes=3500),
    Target("picture-asked", make_asked, run_asked, prepare, share=2.0, seconds=60, megabytes=1500),
    # three masks of 128 million pixels: 1.5 GB of numbers, and as much again until they are pictures
    Target("picture-huge", make_huge, run_huge, prepare, share=0.3, seconds=60, megabytes=5500),
]
