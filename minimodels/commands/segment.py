"""`python -m minimodels segment`: where in the picture is what these words, or another picture, mean? (lesson 4.1)."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from minimodels import picture_prompts
from minimodels.clipseg import CLIPSeg
from minimodels.commands import refer, segment_prompts
from minimodels.errors import UserError
from minimodels.lavt import LAVT
from minimodels.pixels.drawing import overlay
from minimodels.pixels.opening import check_ending, open_image, save_picture
from minimodels.terminal import door
from minimodels.terminal.printing import notice, printable
from minimodels.words.templates import sticker_model

DEFAULT = "tiny-clipseg"
OFFICIAL = "CIDAS/clipseg-rd64-refined"
PICTURE = "segments.png"
SHOWN = 384  # pixels: smaller pictures are enlarged in the overlay, by whole numbers; masks keep the picture's size
EXAMPLES = """
examples:
  python -m minimodels segment scene.png "a dog" "grass" -o out.png
  python -m minimodels segment scene.png "a dog" "an owl" --compete --masks masks/
  python -m minimodels segment scene.png --prompt-image other.png --prompt-mask mask.png
  python -m minimodels segment scene.png "a dog" --prompt-image other.png --prompt-mask mask.png --mix 0.5
  python -m minimodels segment scene.png "the cat on the left" "the cat on the right" --model tiny-lavt
  python -m minimodels segment cat.jpg "a cat" "grass" --model CIDAS/clipseg-rd64-refined
  python -m minimodels segment cat.jpg "a cat" --model rd64-uni.safetensors

Without --model it is tiny-clipseg, the small weights that come with the book:
they know the stickers of Sticker World and no photographs. `python -m lessons
tour` makes scenes to try it on. For photographs: CIDAS/clipseg-rd64-refined
(600 MB, fetched once by: python -m checkpoints_convert fetch
CIDAS/clipseg-rd64-refined).

Each prompt is asked alone, so masks may overlap; with --compete a pixel goes
to the prompt that is surest of it. A prompt picture shows what to look for:
its mask is white where the thing is. It is a prompt beside the words; with
--mix W it is mixed into the one text, W parts text and 1 - W parts picture
(the models learned W from 0 to 0.5 and 1).

tiny-lavt, and official LAVTs, are asked by sentences that mean one thing among
others: "the cat on the left", "the smallest star", "the dog left of the tree".
"""


class Prompts(NamedTuple):
    """Names and vectors (P, E) of what is looked for."""

    names: list[str]
    vectors: Float[Tensor, "prompts embed_dim"]


class Found(NamedTuple):
    """What one prompt found, at the picture's own size."""

    name: str
    probability: Float[Tensor, "height width"]
    mask: Bool[Tensor, "height width"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = (
        "%(prog)s IMAGE TEXT [TEXT ...] [options]\n       %(prog)s IMAGE [TEXT] --prompt-image REF [options]\n"
        "       %(prog)s IMAGE --point X,Y | --box X0,Y0,X1,Y1 | --everything [options]"
    )
    parser.description = (
        "Where in the picture is it? CLIPSeg paints what words, or another picture, mean; LAVT paints the one among "
        "others that a sentence means."
    )
    parser.epilog = EXAMPLES + segment_prompts.EXAMPLES
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a picture file")
    add("texts", nargs="*", metavar="TEXT", help="what to look for; each text gets a mask of its own")
    add("--prompt-image", metavar="REF", help="a picture that shows what to look for")
    add("--prompt-mask", metavar="MASK", help="a picture of REF's size, white where the thing is, black elsewhere")
    add("--mix", type=share, metavar="W", help="mix the prompt picture into the text: weight of the text, 0 to 1")
    add("--threshold", type=share, default=0.5, metavar="T", help="probability that a pixel must pass (default 0.5)")
    add("--compete", action="store_true", help="each pixel belongs to one prompt at most, the surest")
    add("--masks", metavar="DIR", help="write each mask there as a PNG of the picture's size")
    add("--probabilities", action="store_true", help="with --masks: write the probabilities there too, 0-255")
    add("-o", "--output", default=PICTURE, metavar="FILE", help=f"picture with masks and legend (default {PICTURE})")
    segment_prompts.add_options(parser)
    door.add_model_options(parser, default=DEFAULT, official=OFFICIAL)
    parser.set_defaults(run=run)


def share(text: str) -> float:
    """A type for argparse: a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def run(options: argparse.Namespace) -> int:
    """Segment, print, write the pictures, and return the exit code."""
    if segment_prompts.asked(options):
        return segment_prompts.run(options, DEFAULT)
    check_options(options)
    output, image = check_ending(options.output), open_image(options.image)
    shown = read_reference(options)
    model = load_segmenter(options)
    if sticker_model(model) and not door.like_a_scene(image):
        notice(
            "the tiny weights know only the stickers of Sticker World, on a photograph they guess. For photographs: "
            f"--model {OFFICIAL} (fetched once by: python -m checkpoints_convert fetch {OFFICIAL})"
        )
    if isinstance(model, LAVT):
        found = masks(*refer.find(model, image, options), options.threshold, options.compete)
    else:
        found = segment(model, image, make_prompts(model, options, shown), options.threshold, options.compete)
    for one in found:
        print(f"  {printable(one.name)}: {told(one)}")
    if options.masks:
        write_masks(found, Path(options.masks), options.probabilities)
    save_picture(draw(image, found), output)
    print(f"wrote {printable(str(output))}")
    return 0


def check_options(options: argparse.Namespace) -> None:
    """Options that need each other.

    Raises:
        UserError: no prompt, or one option without the other.
    """
    if not options.texts and not options.prompt_image:
        raise UserError('nothing to look for; write it behind the picture: segment cat.jpg "a cat" (or click: --point)')
    if options.prompt_mask and not options.prompt_image:
        raise UserError("--prompt-mask marks a thing in --prompt-image REF, which is not given")
    if options.mix is not None and not options.prompt_image:
        raise UserError("--mix mixes a text with --prompt-image REF, which is not given")
    if options.mix is not None and len(options.texts) != 1:
        raise UserError(f"--mix mixes one text with one picture, here are {len(options.texts)} texts and 1 picture")
    if options.probabilities and not options.masks:
        raise UserError("--probabilities are written beside the masks: say where with --masks DIR")


def load_segmenter(options: argparse.Namespace) -> CLIPSeg | LAVT:
    """The CLIPSeg or LAVT that a person named, in eval mode on its device.

    Raises:
        UserError: no such model, a broken file, another model.
    """
    model = door.load_model(options)
    if not isinstance(model, (CLIPSeg, LAVT)):
        raise UserError(
            f"{options.model} is a {type(model).__name__}, which paints no masks by words; segmenting needs a "
            f"CLIPSeg or a LAVT, for instance {DEFAULT}, tiny-lavt or {OFFICIAL}"
        )
    return model


# ---------------------------------------------------------------- what is looked for


def read_reference(options: argparse.Namespace) -> tuple[Image.Image, Bool[Tensor, "height width"] | None] | None:
    """The prompt picture and its mask (H, W), before a large model is loaded.

    Raises:
        UserError: they cannot be read, differ in size, or the mask is all black.
    """
    if not options.prompt_image:
        return None
    picture = open_image(options.prompt_image)
    if not options.prompt_mask:
        notice("without --prompt-mask the whole prompt picture says what to look for")
        return picture, None
    return picture, door.read_mask(options.prompt_mask, picture, options.prompt_image)


@torch.no_grad()
def make_prompts(model: CLIPSeg, options: argparse.Namespace, shown: tuple | None) -> Prompts:
    """Texts, the picture behind them, or the mix of both."""
    names: list[str] = []
    vectors: list[Tensor] = []
    if options.texts:
        names = door.check_texts(options.texts, "text", model)
        ids = model.tokenize(names, truncate=True)  # type: ignore[operator]
        vectors.append(model.encode_text(ids.to(options.device)))
    if shown is not None:
        picture = picture_vector(model, *shown)
        name = f"like {Path(options.prompt_image).name}"
        if options.mix is not None:
            mixed = picture_prompts.mix(vectors[0], picture, options.mix)
            return Prompts([f"{names[0]} ({options.mix:g}) + {name} ({1 - options.mix:g})"], mixed)
        names, vectors = [*names, name], [*vectors, picture]
    return Prompts(names, torch.cat(vectors))


def picture_vector(
    model: CLIPSeg, picture: Image.Image, mask: Bool[Tensor, "height width"] | None
) -> Float[Tensor, "1 embed_dim"]:
    """A prompt from a picture and a mask, as the model was trained with them."""
    pixels = model.preprocess(picture)[None]  # type: ignore[operator]  # (1, 3, S, S)
    if mask is not None:
        small = F.adaptive_max_pool2d(mask[None].float(), pixels.shape[-1]) > 0  # (1, S, S), nothing gets lost
        pixels = cut_out(pixels, small, stickers=sticker_model(model))
    weight = model.clip.image_tower.proj.weight
    return model.encode_image(pixels.to(weight.device, weight.dtype))


def cut_out(
    pixels: Float[Tensor, "batch 3 size size"], mask: Bool[Tensor, "batch size size"], *, stickers: bool
) -> Float[Tensor, "batch 3 size size"]:
    """The prompt picture: blurred, darkened and cut as the released models learned it (crop_blur_highlight352), or, for
    the tiny model, on plain grey and at half the width, as big as stickers get."""
    blur, background, context = (0.0, 0.0, 0.5) if stickers else (3.0, 0.1, 0.1)
    shown = picture_prompts.highlight(pixels, mask, blur=blur, background=background)
    return picture_prompts.crop_to_mask(shown, mask, size=pixels.shape[-1], context=context)


# ---------------------------------------------------------------- the answer


@torch.no_grad()
def segment(model: CLIPSeg, image: Image.Image, prompts: Prompts, threshold: float, compete: bool) -> list[Found]:
    """Every prompt's probabilities and mask at the size of the picture, which is encoded once."""
    pixels = model.preprocess(image)[None].to(prompts.vectors)  # type: ignore[operator]  # (1, 3, S, S)
    logits = model.decode(model.encode(pixels), prompts.vectors[None])[0]  # (P, S, S)
    size = (image.height, image.width)
    full = F.interpolate(logits[None].float().cpu(), size, mode="bilinear", align_corners=False)[0]  # (P, H, W)
    return masks(prompts.names, full, threshold, compete)


def masks(
    names: Sequence[str], logits: Float[Tensor, "prompts height width"], threshold: float, compete: bool
) -> list[Found]:
    """Logits at the picture's size as probabilities and masks."""
    probability = logits.sigmoid()
    mask = probability > threshold
    if compete:
        mask &= torch.arange(len(logits))[:, None, None] == logits.argmax(dim=0)
    return [Found(*one) for one in zip(names, probability, mask)]


def told(found: Found) -> str:
    """One prompt's answer in words; its score is the mean probability of the pixels that are painted."""
    if not found.mask.any():
        return f"not found (the surest pixel has {float(found.probability.max()):.0%})"
    score = float(found.probability[found.mask].mean())
    return f"{float(found.mask.float().mean()):.1%} of the picture, score {score:.0%}"


def write_masks(found: list[Found], folder: Path, probabilities: bool) -> None:
    """01-a-cat.png, white where it is; 01-a-cat-probability.png, 255 where it is sure."""
    for number, one in enumerate(found, start=1):
        words = re.sub(r"[^a-z0-9]+", "-", one.name.lower()).strip("-")[:40] or "prompt"
        levels = {f"{number:02d}-{words}.png": one.mask.float()}
        if probabilities:
            levels[f"{number:02d}-{words}-probability.png"] = one.probability
        for name, level in levels.items():
            pixels = (level * 255).round().to(torch.uint8).numpy()
            save_picture(Image.fromarray(pixels), folder / name)
            print(f"wrote {printable(str(folder / name))}")


def draw(image: Image.Image, found: list[Found]) -> Image.Image:
    """The picture with all masks and their legend, small ones enlarged."""
    times = max(1, SHOWN // max(image.size))
    big = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    masks = torch.stack([one.mask for one in found])
    masks = masks.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
    return overlay(big, masks, [one.name if one.mask.any() else f"{one.name}: not found" for one in found])
