"""`python -m minimodels segment IMAGE --point X,Y | --box X0,Y0,X1,Y1 | --everything`: SAM, without words (5.1)."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image, ImageDraw
from torch import Tensor

from minimodels.errors import UserError
from minimodels.pixels.drawing import COLOURS, overlay, picture_sheet
from minimodels.pixels.opening import check_ending, open_image, save_picture
from minimodels.sam import NEGATIVE, POSITIVE, SAM
from minimodels.sam_everything import Keep, MaskGenerator
from minimodels.terminal import door
from minimodels.terminal.printing import notice, printable
from minimodels.words.templates import sticker_model

DEFAULT, OFFICIAL = "tiny-sam", "sam_vit_b"
EVERYTHING_SIDE = {True: 16, False: 32}  # points a side of the grid: on a scene of stickers, on photographs
SHOWN = 384  # pixels: smaller pictures are enlarged when drawn
EXAMPLES = """
without words, by SAM (--model tiny-sam, or for photographs sam_vit_b):
  python -m minimodels segment scene.png --point 20,31
  python -m minimodels segment scene.png --point 20,31 --point 25,40 --not 50,10
  python -m minimodels segment scene.png --box 10,20,34,48
  python -m minimodels segment scene.png --everything --masks masks/

Pixels count from 0 at the left and at the top. One click may mean several
things: it gets three masks, the one that SAM trusts most first. Several
clicks, or a box, get one.
"""


class Answer(NamedTuple):
    """Masks (M, H, W) at the picture's size, the one with the highest predicted IoU first."""

    masks: Bool[Tensor, "masks height width"]
    predicted_iou: list[float]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that ask without words."""
    group = parser.add_argument_group("without words")
    add = group.add_argument
    add("--point", type=numbers(2), action="append", metavar="X,Y", help="a click on it; may be given several times")
    add("--not", type=numbers(2), action="append", metavar="X,Y", dest="not_point", help="a click beside it")
    add("--box", type=numbers(4), metavar="X0,Y0,X1,Y1", help="a box around it: its left, top, right and bottom pixel")
    add("--everything", action="store_true", help="masks of all there is, asked at a grid of points")


def numbers(count: int) -> Any:
    """A type for argparse: so many numbers with commas between them."""

    def read(text: str) -> tuple[float, ...]:
        try:
            found = tuple(float(part) for part in text.split(","))
        except ValueError:
            found = ()
        if len(found) != count or not all(abs(number) < 1e9 for number in found):
            example = "20,31" if count == 2 else "10,20,34,48"
            raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers with commas between them, as {example}")
        return found

    return read


def asked(options: argparse.Namespace) -> bool:
    """Whether it is SAM that is asked."""
    return bool(options.point or options.not_point or options.box or options.everything)


def run(options: argparse.Namespace, default: str) -> int:
    """Segment, print, write the pictures, and return the exit code; `default` is the model of those who name none."""
    check_options(options)
    output, image = check_ending(options.output), open_image(options.image)
    check_places(options, image)
    model = load_sam(options, default)
    if sticker_model(model) and not door.like_a_scene(image):
        notice(
            "the tiny weights know only the stickers of Sticker World, on a photograph they guess. For photographs: "
            f"--model {OFFICIAL} (375 MB, fetched once by: python -m checkpoints_convert fetch {OFFICIAL})"
        )
    answer = everything(model, image) if options.everything else segment(model, image, options)
    report(answer, options)
    if options.masks:
        write_masks(answer, Path(options.masks))
    save_picture(draw(image, answer, options), output)
    print(f"wrote {printable(str(output))}")
    return 0


def check_options(options: argparse.Namespace) -> None:
    """What goes together.

    Raises:
        UserError: words beside clicks, a grid beside clicks, clicks beside it alone, options of words.
    """
    if options.texts or options.prompt_image:
        raise UserError(
            "--point, --box and --everything ask SAM, which reads no words and no other picture: leave one of both away"
        )
    if options.everything and (options.point or options.not_point or options.box):
        raise UserError("--everything asks at a grid of points of its own: give it without --point, --not and --box")
    if options.not_point and not (options.point or options.box):
        raise UserError("--not says what does not belong to it; say also what does, with --point or --box")
    for given, name in ((options.compete, "--compete"), (options.probabilities, "--probabilities")):
        if given:
            raise UserError(f"{name} is about words; SAM's masks are asked one by one")


def check_places(options: argparse.Namespace, image: Image.Image) -> None:
    """Clicks and boxes inside the picture.

    Raises:
        UserError: one is not, or a box whose right side is left of its left one.
    """
    size = (
        f"the picture is {image.width} x {image.height} pixels: X from 0 to {image.width - 1}, Y to {image.height - 1}"
    )
    box = [options.box[:2], options.box[2:]] if options.box else []
    places = [("point", place) for place in (options.point or []) + (options.not_point or [])]
    for what, (x, y) in [*places, *(("corner of the box", corner) for corner in box)]:
        if not (0 <= x <= image.width - 1 and 0 <= y <= image.height - 1):
            raise UserError(f"the {what} {x:g},{y:g} lies outside: {size}")
    if options.box and (options.box[0] >= options.box[2] or options.box[1] >= options.box[3]):
        told = ",".join(f"{number:g}" for number in options.box)
        raise UserError(f"--box {told} is no box: it is left, top, right, bottom, as 10,20,34,48")


def load_sam(options: argparse.Namespace, default: str) -> SAM:
    """The SAM that a person named, in eval mode on its device; tiny-sam where none was named.

    Raises:
        UserError: no such model, a broken file, another model.
    """
    if options.model == default:
        options.model = DEFAULT
    model = door.load_model(options)
    if not isinstance(model, SAM):
        raise UserError(
            f"{options.model} is a {type(model).__name__}, which is not asked by clicks and boxes; that needs a SAM, "
            f"for instance {DEFAULT} or {OFFICIAL}"
        )
    return model


@torch.no_grad()
def segment(model: SAM, image: Image.Image, options: argparse.Namespace) -> Answer:
    """Three masks for one click, one for several clicks or a box."""
    preprocess: Any = model.preprocess
    size, weight = (image.height, image.width), model.image_encoder.pos
    embedding = model.encode(preprocess(image, weight.dtype)[None].to(weight.device))
    clicks, others = options.point or [], options.not_point or []
    prompt: dict[str, Any] = {}
    if clicks or others:
        places = preprocess.to_square(torch.tensor([*clicks, *others], dtype=torch.float64), size)
        prompt["points"] = places[None, None].to(weight.device, weight.dtype)  # (1, 1, N, 2)
        labels = [POSITIVE] * len(clicks) + [NEGATIVE] * len(others)
        prompt["labels"] = torch.tensor(labels, device=weight.device)[None, None]
    if options.box:
        box = preprocess.to_square(torch.tensor(options.box, dtype=torch.float64), size)
        prompt["boxes"] = box[None, None].to(weight.device, weight.dtype)  # (1, 1, 4)
    alone = len(clicks) == 1 and not others and not options.box
    low, iou = model.decode(embedding, **prompt, multimask=alone)
    logits = model.enlarge(low.float(), preprocess.inside(size), size)[0, 0]  # (M, H, W)
    order = iou[0, 0].argsort(descending=True)
    return Answer((logits[order] > 0).cpu(), iou[0, 0, order].tolist())


def everything(model: SAM, image: Image.Image) -> Answer:
    """All that the automatic generator finds, the largest first, so that small ones are painted over large ones."""
    side = EVERYTHING_SIDE[sticker_model(model)]
    keep = Keep(iou=0.5, stability=0.8) if sticker_model(model) else Keep()  # tiny-sam's clicks meant several things
    proposals = MaskGenerator(model, points_per_side=side, keep=keep)(image)
    proposals.sort(key=lambda proposal: -proposal.area)
    masks = np.array([proposal.mask for proposal in proposals]).reshape(-1, image.height, image.width)
    return Answer(torch.from_numpy(masks), [proposal.predicted_iou for proposal in proposals])


def report(answer: Answer, options: argparse.Namespace) -> None:
    """One line a mask."""
    if options.everything:
        count = len(answer.masks)
        print(f"  {count} thing{'s' * (count != 1)} found" + ("" if count else ": no mask was sure and steady enough"))
    for number, (mask, iou) in enumerate(zip(answer.masks, answer.predicted_iou), start=1):
        share = float(mask.float().mean())
        print(
            f"  mask {number}: {share:.1%} of the picture, predicted IoU {iou:.0%}" + (": empty" if not share else "")
        )


def write_masks(answer: Answer, folder: Path) -> None:
    """mask-01.png ..., white where it is."""
    for number, mask in enumerate(answer.masks, start=1):
        path = folder / f"mask-{number:02d}.png"
        save_picture(Image.fromarray(mask.to(torch.uint8).numpy() * 255), path)
        print(f"wrote {printable(str(path))}")


def draw(image: Image.Image, answer: Answer, options: argparse.Namespace) -> Image.Image:
    """Each answer to a click on a picture of its own; everything on one."""
    times = max(1, SHOWN // max(image.size))
    big = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    large = answer.masks.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
    if options.everything:
        return overlay(big, large) if len(large) else big
    names = [f"mask {number}: predicted IoU {iou:.0%}" for number, iou in enumerate(answer.predicted_iou, start=1)]
    pictures = [mark(overlay(big, mask[None], colours=COLOURS[1:2]), options, times) for mask in large]
    if len(pictures) == 1:
        return pictures[0]
    return picture_sheet(pictures, names, columns=3, cell=max(big.size))


def mark(image: Image.Image, options: argparse.Namespace, times: int) -> Image.Image:
    """Draw the prompt: clicks as dots, white on it and black beside it, the box as a frame."""
    pen, radius = ImageDraw.Draw(image), max(3, image.width // 80)
    for places, inside, edge in ((options.point, "white", "black"), (options.not_point, "black", "white")):
        for x, y in scaled(places or [], times):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=inside, outline=edge)
    if options.box:
        corners = scaled([options.box[:2], options.box[2:]], times)
        pen.rectangle([number for corner in corners for number in corner], outline="white", width=2)
    return image


def scaled(places: Sequence[tuple[float, ...]], times: int) -> list[tuple[float, float]]:
    """Pixels of the picture -> their middles in the enlarged one."""
    return [((x + 0.5) * times, (y + 0.5) * times) for x, y in places]
