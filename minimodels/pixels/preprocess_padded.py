"""SAM's preprocessing: the longest side to a fixed length, normalise, then pad to a square (lesson 5.1).

Notation: S side of the square    H W pixels of the picture. Sizes are (height, width), points are (x, y).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from minimodels.errors import UserError
from minimodels.pixels.preprocess import check_numbers

MEAN_255, STD_255 = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class PaddedPreprocess:
    """Resize so that the longest side has `size` pixels, normalise, and pad with zeros at the right and bottom.

    The picture is resized as 8 bit numbers by PIL, bilinear with antialiasing, as SAM's own predictor does; `mean` and
    `std` count in levels 0-255. The zeros of the padding lie behind the normalisation: they are grey, not black.
    """

    size: int = 1024
    mean: tuple[float, ...] = MEAN_255
    std: tuple[float, ...] = STD_255

    def __post_init__(self) -> None:
        check_numbers([self.size], self.mean, self.std)

    def __call__(self, image: Image.Image, dtype: torch.dtype = torch.float32) -> Float[Tensor, "3 size size"]:
        """Normalised, padded pixels (3, S, S) of a PIL picture."""
        pixels = torch.from_numpy(np.array(self.resize(image)))  # (h, w, 3), levels 0-255
        mean, std = (torch.tensor(numbers, dtype=dtype) for numbers in (self.mean, self.std))
        normalised = rearrange((pixels.to(dtype) - mean) / std, "h w c -> c h w")
        return F.pad(normalised, (0, self.size - normalised.shape[2], 0, self.size - normalised.shape[1]))

    def resize(self, image: Image.Image) -> Image.Image:
        """The picture as it lies in the square, 8 bit RGB.

        Raises:
            UserError: so long and narrow that nothing is left of its shorter side.
        """
        height, width = self.inside((image.height, image.width))
        if not (height and width):
            raise UserError(f"the picture is too narrow: {image.width} x {image.height} pixels; crop it first")
        return image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)

    def inside(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) inside the square of a picture of `size` (height, width), rounded half up."""
        scale = self.size / max(size)
        return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)

    def to_square(self, points: Float[Tensor, "*any xy"], size: tuple[int, int]) -> Float[Tensor, "*any xy"]:
        """Points (x, y) or boxes (x0, y0, x1, y1) of a picture of `size` -> the same places in the square.

        The factors are those of the rounded sizes, so they differ a little between x and y.
        """
        height, width = self.inside(size)
        factors = torch.tensor([width / size[1], height / size[0]], dtype=points.dtype, device=points.device)
        return points * factors.repeat(points.shape[-1] // 2)
