"""A contact sheet: scenes with what is said of them, the pixels that are meant outlined and the others dimmed."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import exams, questions, refer
from .scenes import draw
from .splits import Split

TILE, TEXT, COLUMNS = 160, 46, 6


def tile(picture: np.ndarray, text: str, mask: np.ndarray | None = None) -> Image.Image:
    """One picture with its text below; a mask is shown in full light, the rest darkened."""
    picture = picture.copy()
    if mask is not None:
        edge = mask & ~(_moved(mask, 1, 0) & _moved(mask, -1, 0) & _moved(mask, 0, 1) & _moved(mask, 0, -1))
        picture[~mask] //= 2
        picture[edge] = (255, 60, 200)
    out = Image.new("RGB", (TILE, TILE + TEXT), "white")
    out.paste(Image.fromarray(picture), (0, 0))
    lines = textwrap.wrap(text, 31)[:4]
    font = ImageFont.load_default(10)
    ImageDraw.Draw(out).multiline_text((2, TILE + 1), "\n".join(lines), fill="black", font=font, spacing=0)
    return out


def _moved(mask: np.ndarray, down: int, right: int) -> np.ndarray:
    return np.roll(np.roll(mask, down, axis=0), right, axis=1)


def contact_sheet(split: Split, start: int = 0) -> Image.Image:
    """Two rows of captioned scenes, two rows of each kind of expression, one of questions, one of pairs."""
    rows: list[list[Image.Image]] = []
    pairs = exams.training_scenes(range(start, start + 2 * COLUMNS), single_share=0.2, split=split)
    tiles = [tile(draw(scene, TILE)[0], text) for scene, text in zip(pairs.scenes, pairs.captions)]
    rows += [tiles[:COLUMNS], tiles[COLUMNS:]]
    for kind in refer.KINDS:
        row = []
        for number in range(start, start + 2 * COLUMNS):
            scene, text, _, target, _ = refer.expression(number, split, kind, hard=number % 2 == 1)
            picture, owner = draw(scene, TILE)
            row.append(tile(picture, text, owner == target + 1 if target >= 0 else np.zeros_like(owner, bool)))
        rows += [row[:COLUMNS], row[COLUMNS:]]
    asked = [questions.question(number, split, hard=True) for number in range(start, start + 2 * COLUMNS)]
    tiles = [tile(draw(q.scene, TILE)[0], f"{q.text} {q.answer}") for q in asked]
    rows += [tiles[:COLUMNS], tiles[COLUMNS:]]
    row = []
    for number in range(start, start + COLUMNS // 2):
        for side, (scene, target) in zip("AB", questions.one_shot_pair(number, split, hard=True)):
            picture, owner = draw(scene, TILE)
            row.append(tile(picture, f"pair {number} {side}: {scene.stickers[target].name}", owner == target + 1))
    rows.append(row)
    sheet = Image.new("RGB", (COLUMNS * (TILE + 4), len(rows) * (TILE + TEXT)), "white")
    for y, row in enumerate(rows):
        for x, one in enumerate(row):
            sheet.paste(one, (x * (TILE + 4), y * (TILE + TEXT)))
    return sheet
