"""What the commands share: the options for a model, loading it, reading pictures, and checking what a person typed."""

import argparse
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor, nn

from minimodels.clip import DualEncoder
from minimodels.errors import UserError
from minimodels.pixels.opening import open_image
from minimodels.stored import embedded, models
from minimodels.terminal.parser import short
from minimodels.terminal.printing import notice
from minimodels.words.templates import sticker_model

DEFAULT_MODEL = "tiny-clip"
OFFICIAL = "openai/clip-vit-base-patch32"
DTYPES = ("float32", "float64", "bfloat16", "float16")
LARGEST_SCENE = 128  # pixels; Sticker World draws its scenes square, at 64 or 128
PICTURE_ENDINGS = tuple(
    ".png .jpg .jpeg .jpe .jfif .mpo .webp .gif .tif .tiff .bmp .avif .jp2 .ico .icns .ppm .pgm .pbm .psd .qoi".split()
)


def add_model_options(parser: argparse.ArgumentParser, default: str = DEFAULT_MODEL, official: str = OFFICIAL) -> None:
    """--model, --device, --dtype."""
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model",
        default=default,
        metavar="NAME|FILE",
        help=f"an embedded model, an official name ({official}) or a checkpoint file (default {default})",
    )
    add_device_options(group)


def add_device_options(group: Any) -> None:
    """--device, --dtype."""
    group.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps")
    group.add_argument("--dtype", default="float32", choices=DTYPES, help="numbers it computes with (default float32)")


def load_dual_encoder(options: argparse.Namespace) -> DualEncoder:
    """The CLIP that a person named, in eval mode on its device.

    Raises:
        UserError: no such model, a broken file, a model without two towers or without its preprocessing, a device that
            is not there.
    """
    name, model = options.model, load_model(options)
    if not isinstance(model, DualEncoder):
        raise UserError(
            f"{name} is a {type(model).__name__}; comparing pictures with words needs a CLIP, "
            f"for instance {DEFAULT_MODEL} or {OFFICIAL}"
        )
    check_equipped(model, "preprocess", "tokenize")
    return model


def check_equipped(model: nn.Module, *parts: str) -> None:
    """What a file should bring beside the weights: "preprocess", "tokenize".

    Raises:
        UserError: a part of it is not there.
    """
    for part in parts:
        if not hasattr(model, part):
            what = {"preprocess": "preprocessing", "tokenize": "tokenizer"}[part]
            raise UserError(
                f"this {type(model).__name__} came without its {what}; convert it again, with all its files"
            )


def load_model(options: argparse.Namespace) -> nn.Module:
    """The model of --model, --device and --dtype: an embedded one, or whatever `options.load_official` opens.

    Raises:
        UserError: no such model, a broken file, a device that is not there.
    """
    name, device, dtype = options.model, check_device(options.device, options.dtype), getattr(torch, options.dtype)
    if name in embedded.names():
        return models.load(name, device, dtype)
    try:
        return options.load_official(name, device=device, dtype=dtype)
    except UserError as error:
        close = difflib.get_close_matches(name.lower(), embedded.names(), n=1, cutoff=0.5)
        if Path(name).exists() or not close or "did you mean" in str(error) or "neither" not in str(error):
            raise
        raise UserError(f"there is no model {name!r}; did you mean {close[0]}?") from error


def check_device(name: str, dtype: str) -> torch.device:
    """The device of that name, if this machine has it and it knows the dtype.

    Raises:
        UserError: it has not.
    """
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,3})?", name):
        raise UserError(f"unknown device {short(name)}; there are: cpu, cuda, cuda:1, mps")
    kind, _, number = name.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no GPU here (--device cuda); leave --device away to use the CPU")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no GPU number {number}; torch sees {torch.cuda.device_count()}, counted from 0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("this is no Mac whose GPU torch can use (--device mps); leave --device away to use the CPU")
    if kind == "mps" and dtype == "float64":
        raise UserError("mps has no float64; use --dtype float32, or --device cpu")
    return torch.device(name)


def check_texts(texts: Sequence[str], what: str, model: nn.Module) -> list[str]:
    """Texts as they were typed, repetitions left out; a notice for each that the model reads only in part.

    Raises:
        UserError: none, an empty one, or ids that the model has no rows for.
    """
    if not texts:
        raise UserError(f"no {what} given")
    check_equipped(model, "tokenize")
    tokenize: Any = model.tokenize
    tables: list[Any] = [module for name, module in model.named_modules() if name.endswith("token_embedding")]
    for number, text in enumerate(texts, start=1):
        ids = tokenize.encode(text)
        if not ids:
            raise UserError(f"{what} {number} is empty; give words, with quotes around them where there are spaces")
        if max(*ids, tokenize.end) >= tables[0].num_embeddings:
            raise UserError(
                f"{what} {number} has the id {max(*ids, tokenize.end)}, the model knows 0 to "
                f"{tables[0].num_embeddings - 1}: is it another model's tokenizer?"
            )
    different = list(dict.fromkeys(texts))
    if len(different) < len(texts):
        notice(f"{len(texts) - len(different)} {what} given twice counts once")
    for text in different:
        warn_of_cut(text, what, tokenize)
    return different


def warn_of_cut(text: str, what: str, tokenize: Any) -> None:
    """Say when a text does not fit the model's context, start and end of text included."""
    needed, room = len(tokenize.encode(text)) + tokenize.taken, tokenize.context_length
    if needed > room:
        start = " ".join(text.split())[:30]
        notice(f"the {what} '{start}...' takes {needed} tokens and the model reads {room}: the rest is cut off")


def read_picture(path: str | Path, model: nn.Module) -> Image.Image:
    """A picture, upright RGB; says once when a model of stickers is shown something else.

    Raises:
        UserError: it cannot be read.
    """
    image = open_image(path)
    if sticker_model(model) and not like_a_scene(image):
        warn_of_stickers()
    return image


def read_mask(path: str | Path, picture: Image.Image, shown: str | Path) -> Bool[Tensor, "height width"]:
    """A mask (H, W) of the picture that was read from `shown`: where it is white.

    Raises:
        UserError: it cannot be read, has another size, or is all black.
    """
    drawn = open_image(path)
    if drawn.size != picture.size:
        raise UserError(
            f"{path} has {drawn.width} x {drawn.height} pixels and {shown} {picture.width} x {picture.height}: a mask "
            "has the size of its picture"
        )
    level = torch.from_numpy(np.array(drawn).max(axis=-1))  # (H, W) uint8
    mask = level > (127 if int(level.max()) > 127 else 0)  # a mask of 0 and 1 looks black and is meant
    if not mask.any():
        raise UserError(f"{path} is all black: it shows no object; paint white what is meant")
    return mask


def like_a_scene(image: Image.Image) -> bool:
    """The rule for "this could be a Sticker World scene": square, at most `LARGEST_SCENE` pixels wide. It can err."""
    return image.width == image.height <= LARGEST_SCENE


def warn_of_stickers(official: str = OFFICIAL, size: str = "600 MB") -> None:
    """What the embedded weights are, and how to get others."""
    notice(
        "the tiny weights know only the stickers of Sticker World, on a photograph they guess. For photographs: "
        f"--model {official} ({size}, fetched once by: python -m checkpoints_convert fetch {official})"
    )
