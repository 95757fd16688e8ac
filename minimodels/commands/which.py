"""`python -m minimodels which`: which of these boxes does a text mean? CLIP looks at each in turn (lesson 3.10)."""

import argparse
import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from minimodels.clip import CLIP, DualEncoder
from minimodels.errors import UserError
from minimodels.falip import ALPHA, AT_ONCE, FoveatedCLIP, foveal_masks, patches_of
from minimodels.pixels.box_prompts import circle, cut_out
from minimodels.pixels.drawing import COLOURS
from minimodels.pixels.opening import check_output, open_image, save_picture
from minimodels.sam import SAM
from minimodels.segmenters.sam import propose
from minimodels.terminal import door
from minimodels.terminal.parser import finite, numbers, whole_number
from minimodels.terminal.printing import bar_lines, notice, printable, waiting
from minimodels.words.templates import fill, sticker_model

PICTURE, TINY_SAM, OFFICIAL_SAM = "which.png", "tiny-sam", "sam_vit_b"
PHOTO, STICKER = "a photo of {}", "{}"  # the paper's sentence; captions of Sticker World begin with the thing itself
SHOWN = 384  # pixels: smaller pictures are enlarged in the answer's picture, by whole numbers
STRONGEST = 1000  # bonus: a softmax of larger numbers has no digits for anything else
MARGIN = 0.1  # of a crop, as a share of the box's sides: our choice
Box = tuple[int | float, ...]
EXAMPLES = """
examples:
  python -m minimodels which scene.png "a small dog" --box 2,30,20,50 --box 30,8,60,40
  python -m minimodels which scene.png "a dog" --by crop --json
  python -m minimodels which cat.jpg "the cat on the left" --model openai/clip-vit-base-patch16 --sam sam_vit_b

Boxes are left, top, right, bottom in pixels, from edge to edge: the whole of a
picture of 64 x 48 pixels is 0,0,64,48. Without --box, SAM finds everything in
the picture, and the boxes around its masks are asked.

--by falip gives the patches of a box a bonus in the attention of CLIP's class
token and changes no pixel; crop cuts the box out; circle draws a red one.

The percentages compare the boxes with each other and add up to 100: if the
text means none of them, one still wins.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = "%(prog)s IMAGE TEXT [--box X0,Y0,X1,Y1 ...] [options]"
    parser.description = "Which of these boxes does the text mean? FALIP makes CLIP look at each of them in turn."
    parser.epilog = EXAMPLES
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a picture file")
    add("text", metavar="TEXT", help="what is meant, with quotes around it")
    add("--box", type=numbers(4), action="append", metavar="X0,Y0,X1,Y1", help="may be given as often as you like")
    add("--by", choices=("falip", "crop", "circle"), default="falip", help="how a box is shown (default falip)")
    add("--alpha", type=finite, metavar="A", help=f"with falip: how strong the bonus is (default {ALPHA})")
    add(
        "--first-block", type=block_number, metavar="N", help="with falip: the first block with a bonus, counted from 0"
    )
    add("--template", metavar="TEXT", help='sentence around the text, "a photo of {}" (for stickers "{}")')
    add("--sam", metavar="NAME|FILE", help=f"the SAM that finds boxes where none is given (default {TINY_SAM})")
    add("--top", type=whole_number, metavar="N", help="show only the N best boxes")
    add("--json", action="store_true", help="print JSON")
    add("-o", "--output", metavar="FILE", help=f"picture with the boxes (default {PICTURE}; with --json none)")
    door.add_model_options(parser)
    parser.set_defaults(run=run)


def block_number(text: str) -> int:
    """A type for argparse: a whole number of at least 0."""
    return 0 if text == "0" else whole_number(text)


def run(options: argparse.Namespace) -> int:
    """Compare the boxes, print, write the picture, and return the exit code."""
    check_options(options)
    output, picture = check_output(options.output or PICTURE, options.image), open_image(options.image)
    for box in options.box or ():
        patches_of(box, (picture.height, picture.width), 1, 1)  # a bad box shows before a large model is loaded
    model = door.load_dual_encoder(options)
    if options.by == "falip" and not isinstance(model, CLIP):
        raise UserError(f"{options.model} is a {type(model).__name__}; FALIP needs a CLIP with a ViT, or --by crop")
    words = fill(options.template or (STICKER if sticker_model(model) else PHOTO), options.text.strip())
    door.check_texts([words if options.text.strip() else ""], "text", model)
    door.read_picture(options.image, model)  # the notice where a model of stickers is shown something else
    boxes = options.box or find_boxes(options, picture, sticker_model(model))
    found = ranked(boxes, *compare(model, options, picture, boxes, words))[: options.top]
    if options.json:
        about = {"model": options.model, "by": options.by, "text": words, "of": len(boxes)}
        print(json.dumps({**about, "boxes": found}, indent=2))
    else:
        names = [f"{one['number']}: {told(one['box'])}" for one in found]
        print("\n".join(bar_lines(names, [one["probability"] for one in found])))
    if options.output or not options.json:
        save_picture(draw(picture, boxes, found[0]["number"]), output)
    if not options.json:
        print(f"wrote {printable(str(output))}")
    return 0


def check_options(options: argparse.Namespace) -> None:
    """Options that do not go together.

    Raises:
        UserError: a number of FALIP's for another way, a bonus without bounds, or a SAM that nobody asks.
    """
    for name in ("alpha", "first_block"):
        if options.by != "falip" and getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is about --by falip, here the boxes are shown by {options.by}")
    if options.alpha is not None and abs(options.alpha) > STRONGEST:
        raise UserError(f"--alpha {options.alpha:g}: beyond {STRONGEST} nothing else is seen any more; 0.2 is usual")
    if options.box and options.sam:
        raise UserError("--sam finds boxes where none is given, here some are: leave --box or --sam away")


def find_boxes(options: argparse.Namespace, picture: Image.Image, stickers: bool) -> list[Box]:
    """The boxes around everything that SAM finds, the largest first, each once.

    Raises:
        UserError: no SAM, or nothing found.
    """
    own = copy.copy(options)
    own.model = options.sam or TINY_SAM
    sam = door.load_model(own)
    if not isinstance(sam, SAM):
        raise UserError(f"--sam {own.model} is a {type(sam).__name__}; finding boxes needs a SAM, {OFFICIAL_SAM}")
    door.check_equipped(sam, "preprocess")
    if sticker_model(sam) and not (stickers and door.like_a_scene(picture)):
        notice(f"{own.model} knows only stickers, on a photograph it guesses: give --box, or --sam {OFFICIAL_SAM}")
    with waiting("finding boxes"):
        corners = [proposal.box for proposal in propose(sam, picture)]
    boxes: list[Box] = [(left, top, right + 1, bottom + 1) for left, top, right, bottom in dict.fromkeys(corners)]
    if not boxes:
        raise UserError("SAM found nothing in this picture that it is sure of; give boxes: --box X0,Y0,X1,Y1")
    return boxes


@torch.no_grad()
def compare(
    model: DualEncoder, options: argparse.Namespace, picture: Image.Image, boxes: Sequence[Box], words: str
) -> list[list[float]]:
    """Probabilities and cosines of all boxes."""
    ids = model.tokenize([words], truncate=True).to(model.logit_scale.device)  # type: ignore[operator]
    text = F.normalize(model.encode_text(model.trim(ids)), dim=-1)  # (1, E)
    image = look(model, options, picture, boxes) if options.by == "falip" else show(model, options.by, picture, boxes)
    cosine = (F.normalize(image, dim=-1) @ text.T)[:, 0].cpu().double()  # (B,)
    return [(model.logit_scale.exp().cpu().double() * cosine).softmax(dim=0).tolist(), cosine.tolist()]


def look(
    model: Any, options: argparse.Namespace, picture: Image.Image, boxes: Sequence[Box]
) -> Float[Tensor, "boxes embed_dim"]:
    """Embeddings of the whole picture, looked at where each box is."""
    tower, alpha = model.image_tower, ALPHA if options.alpha is None else options.alpha
    masks = foveal_masks(boxes, (picture.height, picture.width), tower.image_size, tower.patch_size, alpha)
    return FoveatedCLIP(model, options.first_block).encode_image(squashed(model, picture)[None], masks)


def show(model: Any, by: str, picture: Image.Image, boxes: Sequence[Box]) -> Float[Tensor, "boxes embed_dim"]:
    """Embeddings of a picture for each box, cut out of this one or circled in it."""
    parts = []
    for start in range(0, len(boxes), AT_ONCE):
        some = boxes[start : start + AT_ONCE]
        made = [cut_out(picture, box, MARGIN) if by == "crop" else circle(picture, box) for box in some]
        parts.append(model.encode_image(torch.stack([squashed(model, one) for one in made])))
    return torch.cat(parts)


def squashed(model: Any, picture: Image.Image) -> Float[Tensor, "3 size size"]:
    """The whole picture as the model reads it, squashed to a square instead of cropped: boxes may lie at its edge."""
    side = model.preprocess(picture).shape[-1]
    square = picture.resize((side, side), Image.Resampling.BICUBIC)
    return model.preprocess(square).to(model.logit_scale.device, model.logit_scale.dtype)


def ranked(boxes: Sequence[Box], shares: list[float], cosines: list[float]) -> list[dict[str, Any]]:
    """The boxes, the best first; `number` counts them as they were given, from 1."""
    rows = [
        {"number": number, "box": list(box), "probability": share, "cosine": cosine}
        for number, (box, share, cosine) in enumerate(zip(boxes, shares, cosines), start=1)
    ]
    return sorted(rows, key=lambda row: -row["probability"])


def told(box: Sequence[int | float]) -> str:
    """A box as it is typed."""
    return ",".join(f"{side:g}" for side in box)


def draw(picture: Image.Image, boxes: Sequence[Box], best: int) -> Image.Image:
    """The picture, enlarged if small, with all boxes in thin white lines and the best in a thick coloured one."""
    times = max(1, SHOWN // max(picture.size))
    big = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    pen, line = ImageDraw.Draw(big), max(1, max(big.size) // SHOWN)
    order = sorted(range(len(boxes)), key=lambda number: number + 1 == best)
    for number in order:
        left, top, right, bottom = (round(side * times) for side in boxes[number])
        colour, width = (COLOURS[0], 4 * line) if number + 1 == best else ("white", line)
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
    return big
