"""A box shown to a model by changing the picture: cut out, circled in red, or all else blurred (lesson 3.10).

The rivals of FALIP, which changes no pixel. Shtedritski et al. 2023, "What does CLIP know about a red circle?", draws
the circle; Yang et al. 2023, "Fine-Grained Visual Prompting", blurs what is outside. Margins, widths and blurs are
shares of a length, so that they mean the same on every size of picture.

Boxes are left, top, right, bottom in pixels, from edge to edge.
"""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFilter

Box = Sequence[int | float]
RED = (255, 0, 0)
FINE = 512  # pixels: a circle on a smaller picture is drawn larger and shrunk, so that its edge is smooth


def whole_pixels(box: Box, size: tuple[int, int], margin: int | float = 0.0) -> tuple[int, int, int, int]:
    """The pixels (W, H is the picture's `size`) that a box touches, `margin` times its own sides added on each side."""
    left, top, right, bottom = box
    across, down = margin * (right - left), margin * (bottom - top)
    start = max(0, math.floor(left - across)), max(0, math.floor(top - down))
    return *start, min(size[0], math.ceil(right + across)), min(size[1], math.ceil(bottom + down))


def cut_out(image: Image.Image, box: Box, margin: int | float = 0.0) -> Image.Image:
    """What is in the box, with a margin of its own sides, cut off at the picture's border."""
    return image.crop(whole_pixels(box, image.size, margin))


def circle(image: Image.Image, box: Box, width: int | float = 0.02) -> Image.Image:
    """A red ellipse that touches the box from outside; `width` is a share of the picture's longer side."""
    times = max(1, FINE // max(image.size))
    line = max(1, round(width * max(image.size) * times))
    ring = Image.new("L", (image.width * times, image.height * times))
    left, top, right, bottom = (side * times for side in box)
    ImageDraw.Draw(ring).ellipse(
        (left - line, top - line, right + line - 1, bottom + line - 1), outline=255, width=line
    )
    drawn = image.copy()
    drawn.paste(RED, mask=ring.resize(image.size, Image.Resampling.BOX))
    return drawn


def blur_outside(image: Image.Image, box: Box, sigma: int | float = 0.15) -> Image.Image:
    """Everything outside the box blurred; `sigma` is a share of the picture's longer side."""
    blurred = image.filter(ImageFilter.GaussianBlur(sigma * max(image.size)))
    pixels = whole_pixels(box, image.size)
    blurred.paste(image.crop(pixels), pixels[:2])
    return blurred
