"""The tour's one picture: rows of scenes with bars, rows of hits, drawn twice as large as it is usually shown."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageOps

from minimodels.pixels.drawing import text_font

COLUMNS, CELL, GAP, MARGIN = 5, 296, 24, 36  # pixels
WIDTH = 2 * MARGIN + COLUMNS * CELL + (COLUMNS - 1) * GAP
TEXT, BAR = 24, 9
INK, SOFT, TRACK, RIGHT, WRONG = "#1f2328", "#59636e", "#ece9e1", "#0072b2", "#c05300"


class Tile(NamedTuple):
    """One scene of a row: either `bars` (label, share 0-1; the first is the answer) or a line of text below it.

    `right` None: there is nothing to judge. `parts` are pieces of the line in colours of their own.
    """

    picture: Image.Image
    right: bool | None
    bars: Sequence[tuple[str, float]] = ()
    text: str = ""
    parts: Sequence[tuple[str, str | tuple[int, int, int]]] = ()


def row(title: str, tiles: Sequence[Tile]) -> Image.Image:
    """A title and up to `COLUMNS` tiles below it."""
    lines = max(len(tile.bars) for tile in tiles)
    below = lines * (TEXT + BAR + 16) if lines else TEXT + 14
    strip = Image.new("RGB", (WIDTH, 66 + CELL + below + 14), "white")
    draw = ImageDraw.Draw(strip)
    draw.text((MARGIN, 12), title, fill=INK, font=text_font(29))
    for number, tile in enumerate(tiles[:COLUMNS]):
        left = MARGIN + number * (CELL + GAP)
        strip.paste(rounded(tile.picture), (left, 62))
        top = 62 + CELL + 8
        if tile.bars:
            draw_bars(draw, left, top, tile)
        else:
            draw_line(draw, left, top, tile)
    return strip


def draw_line(draw: ImageDraw.ImageDraw, left: float, top: int, tile: Tile) -> None:
    """A sign of right or wrong and the text in its colour, then the parts in theirs, small enough for the cell."""
    colour = SOFT if tile.right is None else RIGHT if tile.right else WRONG
    sign = "" if tile.right is None else "✓ " if tile.right else "✗ "
    pieces = [(f"{sign}{tile.text}".rstrip(), colour), *tile.parts]
    size, gap = TEXT, 9
    while size > 12 and sum(text_font(size).getlength(text) + gap for text, _ in pieces) > CELL + gap:
        size -= 1
    for text, fill in pieces:
        draw.text((left, top + (TEXT - size) // 2), text, fill=fill, font=text_font(size))
        left += text_font(size).getlength(text) + gap


def rounded(picture: Image.Image, radius: int = 14) -> Image.Image:
    """The picture in the size of a cell, its corners cut round on white."""
    picture = ImageOps.contain(picture, (CELL, CELL), Image.Resampling.BICUBIC)
    mask = Image.new("L", (4 * picture.width, 4 * picture.height))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), 4 * radius, fill=255)
    return Image.composite(picture, Image.new("RGB", picture.size, "white"), mask.resize(picture.size))


def draw_bars(draw: ImageDraw.ImageDraw, left: int, top: int, tile: Tile) -> None:
    """Label, share and bar, one below the other; the answer in the colour of right or wrong."""
    font = text_font(TEXT)
    for place, (label, share) in enumerate(tile.bars):
        colour = SOFT if place else RIGHT if tile.right else WRONG
        sign = "" if place else "✓ " if tile.right else "✗ "
        draw.text((left, top), sign + label, fill=colour, font=font)
        draw.text((left + CELL, top), f"{share:.1%}", fill=colour, font=font, anchor="ra")
        low = top + TEXT + 7
        draw.rounded_rectangle((left, low, left + CELL, low + BAR), BAR // 2, fill=TRACK)
        if share * CELL >= 2:
            draw.rounded_rectangle(
                (left, low, left + share * CELL, low + BAR), min(BAR // 2, share * CELL / 2), fill=colour
            )
        top = low + BAR + 9


def stack(strips: Sequence[Image.Image]) -> Image.Image:
    """Rows below each other, with a frame of white."""
    sheet = Image.new("RGB", (WIDTH, sum(strip.height for strip in strips) + 2 * GAP), "white")
    top = GAP
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet
