"""Figures that several lessons draw: rows of pictures with words under them."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np


def gallery(
    pictures: Sequence[Any], titles: Sequence[str] = (), columns: int = 4, cell: float = 1.55, size: float = 9.5
) -> Any:
    """Pictures row by row, pixels left square, a title over each; gives the matplotlib figure back.

    Args:
        pictures: arrays (H, W, 3) uint8, or (h, w) numbers that are shown as a heat map from 0 to their largest.
        titles: one a picture, or fewer; a line break starts a second line.
        columns: pictures a row. cell: width of one in inches. size: of the letters.
    """
    rows = -(-len(pictures) // columns)
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    shape = (cell * columns, rows * (cell + 0.17 * lines + 0.06))
    figure, axes = plt.subplots(rows, columns, figsize=shape, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for number, (axis, picture) in enumerate(zip(axes.flat, pictures)):
        flat = np.ndim(picture) == 2
        axis.imshow(picture, interpolation="nearest", vmin=0 if flat else None)
        axis.set_title(titles[number] if number < len(titles) else "", fontsize=size, pad=3)
    return figure
