"""How each model that paints masks is asked: one file a model here, and what all of them agree on.

A file holds a `SEGMENTER`. It is found because it lies here, and serves the models of its class: a new model that
segments needs one such file, and `python -m minimodels segment` knows it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor, nn

Place = tuple[float, ...]


class Kind(Enum):
    """A way to ask: what it is called, and what a model that is not asked so does."""

    TEXTS = ("words", "reads no words")
    PICTURE = ("a prompt picture", "looks at no other picture")
    PLACES = ("clicks and boxes", "is not asked by clicks and boxes")
    EVERYTHING = ("a grid of points", "does not look for everything")

    @property
    def called(self) -> str:
        """In a list of what a model is asked by."""
        return self.value[0]

    @property
    def missing(self) -> str:
        """Of a model that is not asked so."""
        return self.value[1]


class Reference(NamedTuple):
    """A picture that shows what to look for; None: all of it."""

    name: str
    picture: Image.Image
    mask: Bool[Tensor, "height width"] | None


@dataclass(frozen=True)
class Prompts:
    """What is looked for. Places are (x, y) in pixels of the picture, inside it.

    Args:
        texts: each is a prompt. reference: one more, or, with `mix`, mixed into the one text, whose weight that is.
        points, beside: clicks on one thing and beside it. box: left, top, right, bottom around it.
        everything: all there is.
    """

    texts: tuple[str, ...] = ()
    reference: Reference | None = None
    mix: float | None = None
    points: tuple[Place, ...] = ()
    beside: tuple[Place, ...] = ()
    box: Place | None = None
    everything: bool = False

    @property
    def kinds(self) -> list[Kind]:
        """The ways in which these prompts ask."""
        places = self.points or self.beside or self.box
        given = zip(Kind, (self.texts, self.reference, places, self.everything))
        return [kind for kind, prompt in given if prompt]


class Answer(NamedTuple):
    """Masks of one picture, at its own size.

    `names`: one a mask, what the person asked for. `logits`: 0 is a probability of 0.5; infinite ones where a model
    gives masks and no more. `scores`: how good the model expects each mask to be (its predicted IoU), if it says so.
    """

    names: list[str]
    logits: Float[Tensor, "masks height width"]
    scores: list[float] | None = None


@dataclass(frozen=True)
class Segmenter:
    """How one kind of model is asked.

    Args:
        model: its class; subclasses are served too, unless they have a file of their own.
        takes: how it can be asked, in its own words ("sentences" for `Kind.TEXTS`).
        segment: the model (with its `.preprocess` and, for texts, `.tokenize`), a picture and prompts of these kinds.
        embedded: the name of its small trained weights. official, size: released weights for photographs.
        threshold: of the probability, unless a person gives another one.
    """

    model: type[nn.Module]
    takes: Mapping[Kind, str]
    segment: Callable[[Any, Image.Image, Prompts], Answer]
    embedded: str
    official: str = ""
    size: str = ""
    threshold: float = 0.5

    @property
    def called(self) -> str:
        """The name of its class."""
        return self.model.__name__


def find_segmenters() -> list[Segmenter]:
    """All there are, in the order of their files."""
    return [importlib.import_module(f"{__name__}.{file.name}").SEGMENTER for file in pkgutil.iter_modules(__path__)]


def segmenter_of(model: nn.Module) -> Segmenter | None:
    """The one that serves a model, if there is one."""
    known = {segmenter.model: segmenter for segmenter in find_segmenters()}
    return next((known[cls] for cls in type(model).__mro__ if cls in known), None)


def read_pixels(model: Any, picture: Image.Image) -> Float[Tensor, "1 3 height width"]:
    """The picture as the model reads it: its `.preprocess`, on its device and in its dtype."""
    pixels: Tensor = model.preprocess(picture)
    return pixels[None].to(next(model.parameters()))


def to_picture_size(
    logits: Float[Tensor, "masks height width"], picture: Image.Image
) -> Float[Tensor, "masks full_height full_width"]:
    """Logits of the preprocessed square, bilinearly, at the size of the picture; float32 on the CPU."""
    size = (picture.height, picture.width)
    return F.interpolate(logits[None].float().cpu(), size, mode="bilinear", align_corners=False)[0]
