"""Backgrounds: six kinds of ground, each a bank of pictures made of smooth noise; each split has a bank of its own.

Only additions and multiplications of numpy's PCG64 numbers are used, so that every machine makes the same pictures.
"""

from functools import cache

import numpy as np

BACKGROUNDS = ("grass", "sand", "sky", "water", "night", "wood")
PER_KIND = 24  # textures of each background in one split's bank

# darkest and brightest colour, noise cells across (rows, columns) of the coarsest layer, and how much each texture's
# colours may shift
_LOOKS = {
    "grass": ((52, 110, 40), (128, 178, 74), (14, 14), 16),
    "sand": ((206, 176, 122), (240, 220, 170), (10, 10), 12),
    "sky": ((120, 178, 232), (222, 238, 252), (2, 3), 12),
    "water": ((22, 92, 150), (92, 172, 206), (14, 4), 14),
    "night": ((10, 12, 34), (40, 44, 88), (3, 3), 8),
    "wood": ((112, 72, 40), (184, 132, 84), (1, 16), 14),
}


def _smooth_noise(rng: np.random.Generator, side: int, rows: int, columns: int) -> np.ndarray:
    """(side, side) noise between 0 and 1: random numbers on a coarse grid, joined smoothly."""
    grid = rng.random((rows + 1, columns + 1))

    def between(count: int) -> tuple[np.ndarray, np.ndarray]:
        at = np.arange(side) * (count / side)
        low = at.astype(int)
        part = at - low
        return low, part * part * (3 - 2 * part)

    (y, down), (x, right) = between(rows), between(columns)
    down, right = down[:, None], right[None, :]
    top = grid[y][:, x] * (1 - right) + grid[y][:, x + 1] * right
    bottom = grid[y + 1][:, x] * (1 - right) + grid[y + 1][:, x + 1] * right
    return top * (1 - down) + bottom * down


@cache
def texture(kind: int, bank: int, number: int, side: int) -> np.ndarray:
    """One background picture (side, side, 3) uint8, kept once made; a scene of side / 2 pixels shows a piece of it."""
    rng = np.random.Generator(np.random.PCG64([kind, bank, number]))
    dark, bright, (rows, columns), shift = _LOOKS[BACKGROUNDS[kind]]
    stretch = 0.7 + 0.6 * rng.random()
    level = np.zeros((side, side))
    for layer, weight in ((1, 0.5), (2, 0.3), (4, 0.2)):
        cells = (max(1, int(n * layer * stretch)) for n in (rows, columns))
        level += weight * _smooth_noise(rng, side, *cells)
    level = np.clip((level - 0.5) * 1.6 + 0.5, 0, 1)[..., None]
    colours = np.array(dark) * (1 - level) + np.array(bright) * level
    colours += (rng.random(3) - 0.5) * shift + (rng.random() - 0.5) * 2 * shift
    if BACKGROUNDS[kind] == "night":
        for y, x in (rng.random((24, 2)) * (side - side // 64)).astype(int):
            colours[y : y + side // 128 + 1, x : x + side // 128 + 1] += 130  # stars
    return np.clip(colours, 0, 255).astype(np.uint8)
