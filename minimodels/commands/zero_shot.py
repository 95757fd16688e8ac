"""`python -m minimodels zero-shot`: which of these labels fits the picture? Nothing is trained for it (lesson 3.4)."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from minimodels.clip import DualEncoder
from minimodels.errors import UserError
from minimodels.pixels.opening import open_image
from minimodels.terminal import door
from minimodels.terminal.parser import whole_number
from minimodels.terminal.printing import bar_lines, notice, printable
from minimodels.words.templates import default_templates, fill, label_embeddings

EXAMPLES = """
examples:
  python -m minimodels zero-shot scene.png dog cat "rocket"
  python -m minimodels zero-shot cat.jpg "a cat" "a dog" --template "{}" --model openai/clip-vit-base-patch32
  python -m minimodels zero-shot photos/*.jpg --labels cat dog bird --json > answers.json

A label is put into a sentence, because the model learned from captions:
"a photo of a {}." for CLIP; "a dog", "a small dog" and "a big dog" for the
tiny model. --template gives another one, several are averaged. {} stands for
the label, {a} for the label with a or an.

The percentages compare the given labels with each other and add up to 100:
if none fits, one still wins. The tiny model knows stickers only, and says so
when a picture is not square or has more than 128 pixels on a side.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = (
        "%(prog)s IMAGE LABEL LABEL ... [options]\n       %(prog)s IMAGE ... --labels LABEL LABEL ... [options]"
    )
    parser.description = "Which of these labels fits the picture? CLIP compares them without being trained for it."
    parser.epilog = EXAMPLES
    parser.add_argument("image", metavar="IMAGE", help="a picture file")
    parser.add_argument("words", nargs="*", metavar="LABEL", help="labels; with --labels: more pictures")
    parser.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="the labels; all other arguments are then pictures"
    )
    parser.add_argument("--template", action="append", metavar="TEXT", help="sentence around a label; may be repeated")
    parser.add_argument("--top", type=whole_number, metavar="N", help="show only the N best labels")
    parser.add_argument("--json", action="store_true", help="print JSON instead of bars")
    door.add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Answer, print, and return the exit code."""
    pictures, labels = split_words(options)
    open_image(pictures[0])  # a wrong name shows before a large model is fetched and loaded
    model = door.load_dual_encoder(options)
    labels = door.check_texts(labels, "label", model)
    templates = tuple(options.template or default_templates(model))
    for label in labels if options.template else ():
        for template in templates:
            door.warn_of_cut(fill(template, label), "label in its template", model.tokenize)
    if len(labels) == 1:
        notice("one label alone always gets 100 %; give at least two to choose from")
    vectors = label_embeddings(model, labels, templates)
    answers = []
    for path in pictures:
        rows = ranked(labels, *classify(model, door.read_picture(path, model), vectors))
        answers.append({"picture": path, "answers": rows[: options.top]})
    if options.json:
        print(json.dumps({"model": options.model, "templates": templates, "pictures": answers}, indent=2))
    else:
        show(answers)
    return 0


def split_words(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Pictures and labels: with --labels every other argument is a picture, without it the first one.

    Raises:
        UserError: no label; a picture where labels are expected.
    """
    if options.labels:
        return [options.image, *options.words], options.labels
    if not options.words:
        raise UserError('no label given; write them behind the picture: zero-shot cat.jpg cat dog "a red car"')
    for word in options.words:
        if Path(word).suffix.lower() in door.PICTURE_ENDINGS and Path(word).is_file():
            raise UserError(
                f"{word} is a picture, expected a label; for several pictures: zero-shot A B --labels cat dog"
            )
    return [options.image], options.words


@torch.no_grad()
def classify(model: DualEncoder, image: Image.Image, labels: Float[Tensor, "labels embed_dim"]) -> list[list[float]]:
    """Probabilities and cosines of all labels (unit vectors, L, E) for one picture."""
    pixels = model.preprocess(image)[None].to(labels.device, labels.dtype)  # type: ignore[operator]  # (1, 3, H, W)
    cosine = F.normalize(model.encode_image(pixels), dim=-1) @ labels.T  # (1, L)
    shares = (model.logit_scale.exp() * cosine).cpu().double().softmax(dim=-1)
    return [shares[0].tolist(), cosine[0].tolist()]


def ranked(labels: list[str], shares: list[float], cosines: list[float]) -> list[dict[str, Any]]:
    """The answers of one picture, the best first."""
    rows = zip(labels, shares, cosines)
    best_first = sorted(rows, key=lambda row: -row[1])
    return [{"label": label, "probability": share, "cosine": cosine} for label, share, cosine in best_first]


def show(answers: list[dict[str, Any]]) -> None:
    """Bars, under the name of the picture where there are several."""
    for number, answer in enumerate(answers):
        if len(answers) > 1:
            print(("\n" if number else "") + printable(answer["picture"]))
        rows = answer["answers"]
        print("\n".join(bar_lines([row["label"] for row in rows], [row["probability"] for row in rows])))
