"""`python -m minimodels segment`: where in the picture is what these words, or another picture, mean? (part 4, 5.1).

Every model that paints masks answers here, each through its file in `minimodels.segmenters`.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor, nn

from minimodels.errors import UserError
from minimodels.pixels.drawing import COLOURS, overlay, picture_sheet
from minimodels.pixels.opening import check_output, open_image, save_picture
from minimodels.segmenters import Answer, Kind, Place, Prompts, Reference, Segmenter, find_segmenters, segmenter_of
from minimodels.stored import embedded
from minimodels.terminal import door
from minimodels.terminal.parser import numbers
from minimodels.terminal.printing import notice, printable
from minimodels.words.templates import sticker_model

DEFAULT = "tiny-clipseg"  # where its prompts are of its kinds; else the first embedded model that is asked so
OFFICIAL = "CIDAS/clipseg-rd64-refined"
PICTURE = "segments.png"
SHOWN = 384  # pixels: smaller pictures are enlarged in the overlay, by whole numbers; masks keep the picture's size
WIDEST_TILE = 2048  # pixels: where several answers stand side by side, none is drawn larger
NOTHING = ": no mask was sure and steady enough"
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

without words, by SAM (--model tiny-sam, or for photographs sam_vit_b):
  python -m minimodels segment scene.png --point 20,31
  python -m minimodels segment scene.png --point 20,31 --point 25,40 --not 50,10
  python -m minimodels segment scene.png --box 10,20,34,48
  python -m minimodels segment scene.png --everything --masks masks/

Pixels count from 0 at the left and at the top. One click may mean several
things: it gets three masks, the one that SAM trusts most first. Several
clicks, or a box, get one.
"""


class Found(NamedTuple):
    """One mask, at the picture's own size; `score` is what the model expects of it, if it says so."""

    name: str
    probability: Float[Tensor, "height width"]
    mask: Bool[Tensor, "height width"]
    score: float | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = (
        "%(prog)s IMAGE TEXT [TEXT ...] [options]\n       %(prog)s IMAGE [TEXT] --prompt-image REF [options]\n"
        "       %(prog)s IMAGE --point X,Y | --box X0,Y0,X1,Y1 | --everything [options]"
    )
    parser.description = (
        "Where in the picture is it? CLIPSeg paints what words, or another picture, mean; LAVT paints the one among "
        "others that a sentence means; SAM paints what was clicked at."
    )
    parser.epilog = EXAMPLES
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a picture file")
    add("texts", nargs="*", metavar="TEXT", help="what to look for; each text gets a mask of its own")
    add("--prompt-image", metavar="REF", help="a picture that shows what to look for")
    add("--prompt-mask", metavar="MASK", help="a picture of REF's size, white where the thing is, black elsewhere")
    add("--mix", type=share, metavar="W", help="mix the prompt picture into the text: weight of the text, 0 to 1")
    add("--threshold", type=share, metavar="T", help="probability that a pixel must pass (default: the model's, 0.5)")
    add("--compete", action="store_true", help="each pixel belongs to one prompt at most, the surest")
    add("--masks", metavar="DIR", help="write each mask there as a PNG of the picture's size")
    add("--probabilities", action="store_true", help="with --masks: write the probabilities there too, 0-255")
    add("-o", "--output", default=PICTURE, metavar="FILE", help=f"picture with masks and legend (default {PICTURE})")
    add = parser.add_argument_group("without words").add_argument
    add("--point", type=numbers(2), action="append", metavar="X,Y", help="a click on it; may be given several times")
    add("--not", type=numbers(2), action="append", metavar="X,Y", dest="not_point", help="a click beside it")
    add("--box", type=numbers(4), metavar="X0,Y0,X1,Y1", help="a box around it: its left, top, right and bottom pixel")
    add("--everything", action="store_true", help="masks of all there is, asked at a grid of points")
    door.add_model_options(parser, default=DEFAULT, official=OFFICIAL)
    parser.set_defaults(run=run, model=None)


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
    check_options(options)
    shown = [path for path in (options.image, options.prompt_image, options.prompt_mask) if path]
    output, picture = check_output(options.output, *shown), open_image(options.image)
    prompts = read_prompts(options, picture)
    options.model = options.model or choose_default(prompts.kinds)
    model = door.load_model(options)
    segmenter = choose_segmenter(model, prompts.kinds, options.model)
    door.check_equipped(model, "preprocess")
    if sticker_model(model) and not door.like_a_scene(picture):
        official = segmenter if segmenter.official else segmenter_named(DEFAULT)
        door.warn_of_stickers(official.official, official.size)
    answer = segmenter.segment(model, picture, prompts)
    threshold = segmenter.threshold if options.threshold is None else options.threshold
    found = masks(answer, threshold, options.compete)
    if prompts.everything:
        print(f"  {len(found)} thing{'s' * (len(found) != 1)} found{'' if found else NOTHING}")
    for one in found:
        print(f"  {printable(one.name)}: {told(one)}")
    if options.masks:
        write_masks(answer.names, found, Path(options.masks), options.probabilities, shown)
    save_picture(draw(picture, found, prompts), output)
    print(f"wrote {printable(str(output))}")
    return 0


# ---------------------------------------------------------------- what is looked for


def check_options(options: argparse.Namespace) -> None:
    """Options that need or exclude each other.

    Raises:
        UserError: no prompt, one option without the other, or two that do not go together.
    """
    words, places = options.texts or options.prompt_image, options.point or options.box
    if not (words or places or options.not_point or options.everything):
        raise UserError('nothing to look for; write it behind the picture: segment cat.jpg "a cat" (or click: --point)')
    if options.prompt_mask and not options.prompt_image:
        raise UserError("--prompt-mask marks a thing in --prompt-image REF, which is not given")
    if options.mix is not None and not options.prompt_image:
        raise UserError("--mix mixes a text with --prompt-image REF, which is not given")
    if options.mix is not None and len(options.texts) != 1:
        raise UserError(f"--mix mixes one text with one picture, here are {len(options.texts)} texts and 1 picture")
    if options.everything and (places or options.not_point):
        raise UserError("--everything asks at a grid of points of its own: give it without --point, --not and --box")
    if options.not_point and not places:
        raise UserError("--not says what does not belong to it; say also what does, with --point or --box")
    if options.compete and not words:
        raise UserError("--compete is about words; clicks and boxes mean one thing, whose masks are asked one by one")
    if options.everything and (options.probabilities or options.threshold is not None):
        raise UserError("--everything finds masks without probabilities: leave --probabilities and --threshold away")
    if options.probabilities and not options.masks:
        raise UserError("--probabilities are written beside the masks: say where with --masks DIR")


def read_prompts(options: argparse.Namespace, picture: Image.Image) -> Prompts:
    """What is looked for, checked before a large model is loaded.

    Raises:
        UserError: the prompt picture or its mask cannot be used, or a place lies outside the picture.
    """
    check_places(options, picture)
    return Prompts(
        texts=tuple(options.texts),
        reference=read_reference(options),
        mix=options.mix,
        points=tuple(options.point or ()),
        beside=tuple(options.not_point or ()),
        box=options.box,
        everything=options.everything,
    )


def read_reference(options: argparse.Namespace) -> Reference | None:
    """The prompt picture and its mask (H, W).

    Raises:
        UserError: they cannot be read, differ in size, or the mask is all black.
    """
    if not options.prompt_image:
        return None
    name, picture = Path(options.prompt_image).name, open_image(options.prompt_image)
    if not options.prompt_mask:
        notice("without --prompt-mask the whole prompt picture says what to look for")
        return Reference(name, picture, None)
    return Reference(name, picture, door.read_mask(options.prompt_mask, picture, options.prompt_image))


def check_places(options: argparse.Namespace, picture: Image.Image) -> None:
    """Clicks and boxes inside the picture.

    Raises:
        UserError: one is not, or a box whose right side is left of its left one.
    """
    right, bottom = picture.width - 1, picture.height - 1
    box = [options.box[:2], options.box[2:]] if options.box else []
    places = [("point", place) for place in (options.point or []) + (options.not_point or [])]
    for what, (x, y) in [*places, *(("corner of the box", corner) for corner in box)]:
        if not (0 <= x <= right and 0 <= y <= bottom):
            raise UserError(
                f"the {what} {x:g},{y:g} lies outside: the picture is {picture.width} x {picture.height} pixels: "
                f"X from 0 to {right}, Y to {bottom}"
            )
    if options.box and (options.box[0] >= options.box[2] or options.box[1] >= options.box[3]):
        told = ",".join(f"{number:g}" for number in options.box)
        raise UserError(f"--box {told} is no box: it is left, top, right, bottom, as 10,20,34,48")


# ---------------------------------------------------------------- who is asked


def choose_default(kinds: Sequence[Kind]) -> str:
    """The embedded model that is asked in these ways where nobody named one.

    Raises:
        UserError: no model is asked in all of them.
    """
    fit = [one for one in find_segmenters() if set(kinds) <= set(one.takes) and one.embedded in embedded.names()]
    if not fit:
        raise UserError(apart(kinds))
    return DEFAULT if any(one.embedded == DEFAULT for one in fit) else fit[0].embedded


def choose_segmenter(model: nn.Module, kinds: Sequence[Kind], name: str) -> Segmenter:
    """How this model is asked.

    Raises:
        UserError: not at all, or not in these ways; the models that are asked so are named.
    """
    segmenter = segmenter_of(model)
    if segmenter is not None and set(kinds) <= set(segmenter.takes):
        return segmenter
    others = [one for one in find_segmenters() if set(kinds) <= set(one.takes)]
    if not others:
        raise UserError(apart(kinds))
    if segmenter is None:
        told = f"which is not asked by {' and '.join(kind.called for kind in kinds)} where something is"
    else:
        missing = [kind.missing for kind in kinds if kind not in segmenter.takes]
        told = f"which is asked by {' or '.join(segmenter.takes.values())} only and {' and '.join(missing)}"
    named = " or a ".join(f"{one.called} ({' or '.join(filter(None, (one.embedded, one.official)))})" for one in others)
    raise UserError(f"{name} is a {type(model).__name__}, {told}; that needs a {named}: give it with --model")


def apart(kinds: Sequence[Kind]) -> str:
    """Why nobody can be asked in all these ways at once."""
    known = next(one for one in find_segmenters() if kinds[-1] in one.takes)
    missing = " and ".join(kind.missing for kind in kinds if kind not in known.takes)
    return (
        f"no model is asked by {' and by '.join(kind.called for kind in kinds)} at once: a {known.called} {missing}; "
        "leave one of them away"
    )


def segmenter_named(name: str) -> Segmenter:
    """The one whose embedded model has this name."""
    return next(one for one in find_segmenters() if one.embedded == name)


# ---------------------------------------------------------------- the answer


def masks(answer: Answer, threshold: float, compete: bool) -> list[Found]:
    """Logits become probabilities, in place as they may take gigabytes, and masks; a repeated name gets numbers."""
    winner = answer.logits.argmax(dim=0) if compete else None
    probability = answer.logits.sigmoid_()
    mask = probability > threshold
    if winner is not None:
        mask &= torch.arange(len(mask))[:, None, None] == winner
    several = len(set(answer.names)) < len(answer.names)
    names = [f"{name} {number}" if several else name for number, name in enumerate(answer.names, start=1)]
    scores: Sequence[float | None] = answer.scores or [None] * len(names)
    return [Found(*one) for one in zip(names, probability, mask, scores)]


def told(found: Found) -> str:
    """One answer in words; without the model's own score it is the mean probability of the pixels that are painted.

    A predicted IoU is told as the number that it is, no share of a hundred: SAM's head has no bound, 1.07 may come out.
    """
    painted = f"{float(found.mask.float().mean()):.1%} of the picture"
    if found.score is not None:
        return f"{painted}, predicted IoU {found.score:.2f}" + ("" if found.mask.any() else ": empty")
    if not found.mask.any():
        return f"not found (the surest pixel has {float(found.probability.max()):.0%})"
    return f"{painted}, score {float(found.probability[found.mask].mean()):.0%}"


def write_masks(
    names: Sequence[str], found: Sequence[Found], folder: Path, probabilities: bool, inputs: Sequence[str]
) -> None:
    """01-a-cat.png, white where it is; 01-a-cat-probability.png, 255 where it is sure.

    Raises:
        UserError: a file cannot be written, or is one of the pictures that are read.
    """
    for number, (name, one) in enumerate(zip(names, found), start=1):
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "prompt"
        levels = {f"{number:02d}-{words}.png": one.mask.float()}
        if probabilities:
            levels[f"{number:02d}-{words}-probability.png"] = one.probability
        for file, level in levels.items():
            pixels = (level * 255).round().to(torch.uint8).numpy()
            save_picture(Image.fromarray(pixels), check_output(folder / file, *inputs))
            print(f"wrote {printable(str(folder / file))}")


def draw(picture: Image.Image, found: Sequence[Found], prompts: Prompts) -> Image.Image:
    """The picture, enlarged if small, with all masks and their legend; each answer to clicks on one of its own."""
    times = max(1, SHOWN // max(picture.size))
    big = picture
    if times > 1:
        big = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    if not found:
        return big
    large = torch.stack([one.mask for one in found])
    if times > 1:
        large = large.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
    if prompts.everything:
        return overlay(big, large)
    if Kind.PLACES not in prompts.kinds:
        return overlay(big, large, [one.name if one.mask.any() else f"{one.name}: not found" for one in found])
    tiles = (mark(overlay(big, mask[None], colours=COLOURS[1:2]), prompts, times) for mask in large)
    if len(large) == 1:
        return next(tiles)
    cell = min(max(big.size), WIDEST_TILE)
    small = [tile if max(tile.size) <= cell else ImageOps.contain(tile, (cell, cell)) for tile in tiles]
    captions = [one.name if one.score is None else f"{one.name}: predicted IoU {one.score:.2f}" for one in found]
    return picture_sheet(small, captions, columns=3, cell=cell)


def mark(picture: Image.Image, prompts: Prompts, times: int) -> Image.Image:
    """Draw the prompt: clicks as dots, white on it and black beside it, the box as a frame."""
    pen, radius = ImageDraw.Draw(picture), max(3, picture.width // 80)
    for places, inside, edge in ((prompts.points, "white", "black"), (prompts.beside, "black", "white")):
        for x, y in scaled(places, times):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=inside, outline=edge)
    if prompts.box:
        corners = scaled([prompts.box[:2], prompts.box[2:]], times)
        pen.rectangle([number for corner in corners for number in corner], outline="white", width=2)
    return picture


def scaled(places: Sequence[Place], times: int) -> list[tuple[float, float]]:
    """Pixels of the picture -> their middles in the enlarged one."""
    return [((x + 0.5) * times, (y + 0.5) * times) for x, y in places]
