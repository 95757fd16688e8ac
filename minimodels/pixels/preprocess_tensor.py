"""Official preprocessing to an exact square: CLIPSeg's (lesson 4.1), numbers first; LAVT's (lesson 4.4), size first."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from minimodels.pixels.preprocess import check_numbers, normalize, to_tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TensorPreprocess:
    """0-1, normalise, and then resize the tensor to exactly `size` x `size`, bilinear; the shape is squashed.

    The order of CLIPSeg's quick start. transformers' processor resizes the PIL picture before (`TransformersPreprocess`
    with an exact size), which rounds to 8 bits in between, so the pixels differ a little.

    `antialias`: torchvision's tensor resize smooths today; the version of 2022, which the models were made with, did
    not.
    """

    size: int
    antialias: bool = True
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_numbers([self.size], self.mean, self.std)

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 size size"]:
        pixels = normalize(to_tensor(image.convert("RGB")), self.mean, self.std)  # (3, H, W)
        size = (self.size, self.size)
        return F.interpolate(pixels[None], size, mode="bilinear", align_corners=False, antialias=self.antialias)[0]


@dataclass(frozen=True)
class SquashPreprocess:
    """The picture resized to exactly `size` x `size`, bilinear, its shape squashed; then 0-1, normalised.

    torchvision's order on PIL pictures, as LAVT's released code has it: PIL smooths when it shrinks and rounds to 8
    bits, and 8 bits are divided by 255 in float32 (transformers multiplies in float64).
    """

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_numbers([self.size], self.mean, self.std)

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 size size"]:
        image = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return normalize(to_tensor(image), self.mean, self.std)
