"""Draw results: masks over a picture with their legend, sheets of pictures with captions.

Notation: H W pixels of a picture. Sizes are (height, width) as in tensors; only PIL itself says (width, height).
"""

import importlib.util
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from minimodels.errors import UserError
from minimodels.pixels.opening import repair

# Easy to tell apart, also for colour-blind readers (Okabe and Ito 2008).
COLOURS = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (240, 228, 66))
BAND = 256  # rows that are painted at once


def picture_sheet(
    images: Sequence[Image.Image], captions: Sequence[str] = (), columns: int = 4, cell: int = 224, text_size: int = 18
) -> Image.Image:
    """Lay pictures out on white, row by row, each fitted into a square `cell`, its caption below it.

    Each line of a caption is wrapped to the width of a cell, at most four lines.

    Raises:
        UserError: no pictures, or captions that are not one a picture.
    """
    if not images or len(captions) not in (0, len(images)):
        raise UserError(
            f"{len(images)} pictures and {len(captions)} captions, expected at least one and one caption each"
        )
    columns, gap, line = min(columns, len(images)), 12, round(1.3 * text_size)
    font = text_font(text_size)
    texts = [_wrap(caption, font, cell) for caption in captions] or [[]] * len(images)
    rows = [range(start, min(start + columns, len(images))) for start in range(0, len(images), columns)]
    heights = [gap + cell + line * max(len(texts[number]) for number in row) for row in rows]
    sheet = Image.new("RGB", (gap + columns * (cell + gap), sum(heights) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for row, top in zip(rows, (sum(heights[:number]) + gap for number in range(len(rows)))):
        for column, number in enumerate(row):
            left, picture = gap + column * (cell + gap), ImageOps.contain(repair(images[number]), (cell, cell))
            sheet.paste(picture, (left + (cell - picture.width) // 2, top + (cell - picture.height) // 2))
            for index, text in enumerate(texts[number]):
                draw.text((left, top + cell + 2 + index * line), text, fill="black", font=font)
    return sheet


def overlay(
    image: Image.Image,
    masks: Bool[Tensor, "masks height width"],
    names: Sequence[str] = (),
    colours: Sequence[tuple[int, int, int]] = COLOURS,
    text_size: int = 18,
) -> Image.Image:
    """Paint masks half transparent over a picture, with an outline, and name them in a legend below it.

    Raises:
        UserError: masks of another size than the picture, or names that are not one a mask.
    """
    if tuple(masks.shape[1:]) != (image.height, image.width) or len(names) not in (0, len(masks)):
        raise UserError(
            f"masks {tuple(masks.shape)} and {len(names)} names for a picture of {(image.height, image.width)} pixels; "
            "resize the masks to the picture and give one name each"
        )
    pixels = np.array(repair(image))  # (H, W, 3)
    used = [colours[number % len(colours)] for number in range(len(masks))]
    insides = masks.cpu().numpy()
    outlines = [_outline(inside) for inside in insides]
    for top in range(0, len(pixels), BAND):  # in floats, of which a large picture whole would take gigabytes
        rows = slice(top, top + BAND)
        band = pixels[rows].astype(np.float32)
        for inside, outline, colour in zip(insides, outlines, used):
            band[inside[rows]] = 0.5 * band[inside[rows]] + 0.5 * np.array(colour, dtype=np.float32)
            band[outline[rows]] = colour
        pixels[rows] = np.rint(band)
    painted = Image.fromarray(pixels)
    return _with_legend(painted, names, used, text_size) if names else painted


def _outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that have a neighbour outside it; the edge of the picture is no outline. (H, W) bool."""
    padded = np.pad(mask, 1, mode="edge")
    return mask & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])


def _with_legend(
    image: Image.Image, names: Sequence[str], colours: Sequence[tuple[int, int, int]], text_size: int
) -> Image.Image:
    """The picture and a legend below it: a square of the colour, then the name, on as many lines as it needs."""
    font, line = text_font(text_size), round(1.5 * text_size)
    width = max(image.width, 12 * text_size)
    texts = [_wrap(name, font, width - 2 * line) or [""] for name in names]
    sheet = Image.new("RGB", (width, image.height + line * sum(map(len, texts)) + 8), "white")
    sheet.paste(image, ((width - image.width) // 2, 0))
    draw, top = ImageDraw.Draw(sheet), image.height + 4
    for lines, colour in zip(texts, colours):
        draw.rectangle((6, top + 4, 6 + text_size, top + 4 + text_size), fill=colour)
        for text in lines:
            draw.text((line + 6, top + 2), text, fill="black", font=font)
            top += line
    return sheet


def text_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans out of the installed matplotlib, which is not imported; else PIL's own font, which has ASCII only."""
    spec = importlib.util.find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "mpl-data/fonts/ttf/DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """Break each line of a text at about `width` pixels, going by the mean width of its letters; at most four lines."""
    lines: list[str] = []
    for line in filter(str.strip, text.splitlines()):
        letters = int(0.9 * width * len(line) / max(font.getlength(line), 1))  # some letters are no pixel wide
        lines += textwrap.wrap(line, max(letters, 5), max_lines=4, placeholder=" ...")
    return lines
