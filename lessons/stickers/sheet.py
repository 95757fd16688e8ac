"""The sheet: 64 stickers, cut out of one small picture, recoloured, resized and turned before any scene is drawn.

`sheet.png` holds 8 x 8 cells of 64 x 64 pixels with transparency. It is rendered from the Noto Color Emoji font by
`python -m lessons.stickers sheet`; nobody needs the font to use it.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minimodels.errors import UserError
from minimodels.errors.aside import write_aside

SHEET = Path(__file__).with_name("sheet.png")
CELL = 64
FONTS = [
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
]
GLYPHS = """
dog🐶 cat🐱 fox🦊 lion🦁 panda🐼 pig🐷 frog🐸 owl🦉 penguin🐧 dolphin🐬 octopus🐙 turtle🐢 crab🦀
fish🐠 butterfly🦋 ladybug🐞 parrot🦜 elephant🐘 tree🌳 cactus🌵 mushroom🍄 sunflower🌻 rose🌹
apple🍎 banana🍌 strawberry🍓 pineapple🍍 watermelon🍉 carrot🥕 pizza🍕 hamburger🍔 donut🍩
pumpkin🎃 car🚗 bus🚌 tractor🚜 train🚂 boat⛵ rocket🚀 balloon🎈 star⭐ heart❤ rainbow🌈 snowman⛄
castle🏰 tent⛺ basketball🏀 drum🥁 guitar🎸 robot🤖 ghost👻 crown👑 gift🎁 key🔑 bell🔔 umbrella☂
shoe👟 dress👗 book📕 clock⏰ camera📷 diamond💎 backpack🎒 bucket🪣
""".split()
CLASSES = tuple(glyph[:-1] for glyph in GLYPHS)
CLASS_NUMBER = {name: number for number, name in enumerate(CLASSES)}

COLOURS = ("own", "red", "yellow", "green", "blue", "purple")  # number 0: the sticker as the font draws it
HUES = {"red": 0, "yellow": 32, "green": 85, "blue": 148, "purple": 200}  # on Pillow's circle of 256
OWN_COLOUR = {
    **dict.fromkeys(("car", "balloon", "heart", "book", "backpack", "mushroom"), "red"),
    **dict.fromkeys(("star", "key", "bell"), "yellow"),
    **dict.fromkeys(("shoe", "dress", "bucket"), "blue"),
}  # the classes that come in every colour, and the colour the font gives them
COLOURABLE = tuple(CLASS_NUMBER[name] for name in OWN_COLOUR)

SIZES = (16, 22, 32)  # pixels of the longer side in a scene of 64 x 64
SIZE_NAMES = ("small", "", "big")
TURNS = (-20, -10, 0, 10, 20)  # degrees


class Sprite(NamedTuple):
    """One sticker ready to paste: `colour` (h, w, 3) uint16 already times alpha, `keep` (h, w, 1) uint16 = 256 -
    alpha."""

    colour: np.ndarray
    keep: np.ndarray
    solid: np.ndarray  # (h, w) bool: where the sticker hides what is behind it


def render_sheet(font_path: str | None = None, out: Path = SHEET) -> Path:
    """Render the 64 glyphs from Noto Color Emoji into one PNG.

    Raises:
        UserError: the font is not there, or lacks one of the glyphs.
    """
    found = [path for path in ([font_path] if font_path else FONTS) if Path(path).is_file()]
    if not found:
        raise UserError(
            f"no Noto Color Emoji font at {font_path or ', '.join(FONTS)}. Install it (Debian, Ubuntu: apt install "
            "fonts-noto-color-emoji) or give --font PATH. The committed sheet.png stays as it is and needs no font."
        )
    font = ImageFont.truetype(found[0], 109)  # the one size this bitmap font has
    sheet = Image.new("RGBA", (8 * CELL, 8 * CELL))
    for number, glyph in enumerate(GLYPHS):
        canvas = Image.new("RGBA", (160, 160))
        ImageDraw.Draw(canvas).text((10, 10), glyph[-1], font=font, embedded_color=True)
        box = canvas.getbbox()
        if box is None:
            raise UserError(f"the font {found[0]} has no glyph for {glyph}; a newer Noto Color Emoji has.")
        sticker = canvas.crop(box)
        sticker.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
        row, column = divmod(number, 8)
        sheet.paste(sticker, (column * CELL + (CELL - sticker.width) // 2, row * CELL + (CELL - sticker.height) // 2))
    with write_aside(out) as aside:
        sheet.save(aside, optimize=True)
    return out


@cache
def cutouts() -> tuple[Image.Image, ...]:
    """The 64 stickers as RGBA pictures, cropped to what is visible."""
    with Image.open(SHEET) as opened:
        sheet = opened.convert("RGBA")
    cells = [sheet.crop((c * CELL, r * CELL, c * CELL + CELL, r * CELL + CELL)) for r in range(8) for c in range(8)]
    return tuple(cell.crop(cell.getchannel("A").getbbox()) for cell in cells)


def recolour(sticker: Image.Image, own: str, wanted: str) -> Image.Image:
    """Turn the hue of the sticker's own colour to the wanted one; greys, whites and other hues stay."""
    hue, saturation, value = (np.asarray(c).astype(int) for c in sticker.convert("RGB").convert("HSV").split())
    distance = (hue - HUES[own] + 128) % 256 - 128  # -128 ... 127 around the circle
    painted = (saturation > 60) & (abs(distance) < 40)
    hue = np.where(painted, HUES[wanted] + distance // 3, hue) % 256
    if wanted == "yellow":  # a dark yellow is brown: lift it
        value = np.where(painted, 128 + value // 2, value)
    elif own == "yellow":  # a yellow is brighter than any other colour: darken and deepen it
        value = np.where(painted, value * 7 // 8, value)
    channels = [Image.fromarray(c.astype(np.uint8)) for c in (hue, saturation, value)]
    out = Image.merge("HSV", channels).convert("RGB")
    out.putalpha(sticker.getchannel("A"))
    return out


@cache
def coloured(kind: int, colour: int) -> Image.Image:
    """The sticker of class `kind` in colour number `colour` (0: its own)."""
    name, sticker = CLASSES[kind], cutouts()[kind]
    if colour == 0 or COLOURS[colour] == OWN_COLOUR.get(name):
        return sticker
    if name not in OWN_COLOUR:
        raise UserError(f"the {name} comes in its own colours only; coloured ones are: {', '.join(OWN_COLOUR)}.")
    return recolour(sticker, OWN_COLOUR[name], COLOURS[colour])


@cache
def sprite(kind: int, colour: int, size: int, turn: int, scene_size: int = 64) -> Sprite:
    """The sticker resized for a scene of `scene_size` pixels and turned, ready to paste (kept once made)."""
    picture = coloured(kind, colour)
    longer = SIZES[size] * scene_size / 64
    scale = longer / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    picture = _premultiplied(picture).resize(
        (width, height), Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC
    )
    picture = picture.rotate(TURNS[turn], Image.Resampling.BICUBIC, expand=True)
    picture = picture.crop(picture.getchannel("A").getbbox())
    pixels = np.asarray(picture).astype(np.uint16)
    alpha = pixels[..., 3:] + (pixels[..., 3:] >> 7)  # 0 ... 256, so that a shift by 8 bits divides
    colours = np.minimum(pixels[..., :3], pixels[..., 3:])  # resampling may overshoot its alpha
    return Sprite(colours * 256, 256 - alpha, pixels[..., 3] > 127)


def _premultiplied(picture: Image.Image) -> Image.Image:
    """Colour times alpha, so that resampling lets no hidden colour bleed in at the edge."""
    pixels = np.asarray(picture).astype(np.uint16)
    pixels[..., :3] = pixels[..., :3] * pixels[..., 3:] // 255
    return Image.fromarray(pixels.astype(np.uint8))


@cache
def histograms() -> np.ndarray:
    """Each class's colours as a (64, 64) table: the share of its visible pixels in each of 4 x 4 x 4 boxes of RGB."""
    return np.stack([colour_histogram(np.asarray(c)[np.asarray(c)[..., 3] > 127][:, :3]) for c in cutouts()])


def colour_histogram(pixels: np.ndarray) -> np.ndarray:
    """The share of (N, 3) uint8 pixels in each of 4 x 4 x 4 boxes of RGB: (64,) float64."""
    boxes = (pixels >> 6).astype(int) @ np.array([16, 4, 1])
    return np.bincount(boxes, minlength=64) / max(1, len(boxes))


@cache
def lookalikes(kind: int, count: int = 6) -> tuple[int, ...]:
    """The classes whose colours are nearest to those of `kind`, nearest first: the distractors of hard scenes."""
    shared = np.minimum(histograms(), histograms()[kind]).sum(1)
    order = np.argsort(-np.round(shared, 6), kind="stable")
    return tuple(int(k) for k in order if k != kind)[:count]
