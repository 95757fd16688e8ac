"""Where the reference libraries disagree on the same PIL image, measured: python -m tests.benchmarks.pixels

Prints a Markdown table. Differences are in levels of 255 after undoing the normalisation: the largest and the mean over
all pixels of the prepared picture. The pictures are made here (smooth shapes with some grain), so the figures show the
size of an effect, not a statistic over photographs.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from minimodels.pixels.opening import repair
from minimodels.pixels.preprocess import CLIP_STD

MODES = ["RGB", "L", "LA", "RGBA", "P", "P transparent", "PA", "CMYK", "1", "I;16", "I", "F"]
SIZE = 224

Transform = Callable[[Image.Image], Tensor]


def picture(mode: str, height: int, width: int, seed: int = 0, grain: float = 1.0) -> Image.Image:
    """A made-up picture in any PIL mode; grain 1 is pure noise, 0 smooth shapes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(a * x + b * y + c) > 0.6 * np.sin(b * x * y) for a, b, c in rng.uniform(3, 25, (4, 3))]
    smooth = np.stack([0.25 + 0.5 * wave + 0.2 * x for wave in waves], axis=-1)  # (H, W, 4) in 0-1
    levels = np.clip((1 - grain) * smooth + grain * rng.random(smooth.shape), 0, 1)
    bands = [Image.fromarray(band) for band in np.moveaxis(np.uint8(255 * levels), -1, 0).copy()]
    grey = levels[..., 0]
    if mode in ("I;16", "I", "F"):
        kind, white = {"I;16": (np.uint16, 65535), "I": (np.int32, 65535), "F": (np.float32, 255)}[mode]
        return Image.fromarray((grey * white).astype(kind))
    if mode == "P transparent":  # the most common colour of the palette is transparent, as in a GIF
        image = Image.merge("RGB", bands[:3]).quantize(31)
        image.info["transparency"] = int(np.bincount(np.asarray(image).ravel()).argmax())
        return image
    if mode == "P":
        return Image.merge("RGB", bands[:3]).quantize(31)
    if mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return Image.merge(mode, bands[: len(Image.new(mode, (1, 1)).getbands())])
    return Image.merge(
        "RGBA" if mode in ("PA", "RGBa") else "RGB", bands[: 4 if mode in ("PA", "RGBa") else 3]
    ).convert(mode)


def references(size: int = SIZE) -> dict[str, Transform]:
    """The three ways to prepare a picture for CLIP that people use, each as image -> normalised (3, size, size)."""
    from open_clip.transform import image_transform
    from transformers import CLIPImageProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    def processor(cls: type) -> Transform:
        instance = cls(size={"shortest_edge": size}, crop_size=size)
        return lambda image: torch.as_tensor(instance(image, return_tensors="pt")["pixel_values"][0])

    return {
        "OpenAI, open_clip": image_transform(size, is_train=False),
        "transformers, PIL": processor(CLIPImageProcessorPil),
        "transformers, torchvision": processor(CLIPImageProcessor),
    }


def levels_apart(one: Transform, other: Transform, image: Image.Image) -> tuple[float, float] | None:
    """Largest and mean difference of two transforms in levels of 255; None where one of them refuses the picture."""
    try:
        difference = (one(image.copy()) - other(image.copy())).abs() * torch.tensor(CLIP_STD)[:, None, None] * 255
    except Exception:
        return None
    return difference.max().item(), difference.mean().item()


def rows() -> list[list[str]]:
    """One row a kind of picture: its name, then largest and mean difference for each of the pairs that `main` names."""
    openai, pil, torchvision = references().values()
    kinds = [(mode, picture(mode, 300, 452, grain=0.1)) for mode in MODES]
    kinds.insert(1, ("RGB, 300 x 455", picture("RGB", 300, 455, grain=0.1)))
    table = []
    for name, image in kinds:
        cells = [
            levels_apart(openai, pil, image),
            levels_apart(pil, torchvision, image),
            levels_apart(openai, lambda image: openai(repair(image)), image),
            levels_apart(openai, pil, repair(image)),
        ]
        table.append([name, *("refused" if cell is None else f"{cell[0]:.0f} ({cell[1]:.2f})" for cell in cells)])
    return table


def main() -> None:
    heads = ["picture", "OpenAI against transformers PIL", "transformers PIL against torchvision"]
    heads += ["OpenAI with against without open_image", "OpenAI against transformers PIL, both with open_image"]
    print("Largest (mean) difference in levels of 255; 300 x 452 pixels to 224.\n")
    for row in [heads, ["---"] * len(heads), *rows()]:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
