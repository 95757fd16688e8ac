"""`python -m minimodels compare`: how do two models score the same sentences for a picture? (lesson 3.7)."""

import argparse
import copy
import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image

from minimodels.clip import DualEncoder
from minimodels.errors import UserError
from minimodels.pixels.opening import open_image
from minimodels.terminal import door
from minimodels.terminal.printing import BLOCK, can_show, columns, fit, notice, printable, width
from minimodels.words.templates import label_embeddings

DEFAULT = "tiny-clip,tiny-clips"
MOST = 8  # models at a time: each is loaded whole
EXAMPLES = """
examples:
  python -m minimodels compare scene.png "a red car on grass" "a blue car on grass"
  python -m minimodels compare cat.jpg "a cat" "a dog" --json \\
      --models openai/clip-vit-large-patch14,UCSC-VLAA/ViT-L-14-CLIPS-224-Recap-DataComp-1B

Scores are 100 x cosine, between -100 and 100. The first sentence is taken for
the right one: the margin is its score less the best score of the others, above
0 where the model puts it first. Models are compared by ranks and margins and
not by levels: what a cosine of 0.2 means, each model settles for itself. The
probability takes the model's own scale into account.
"""


class Scores(NamedTuple):
    """What one model says: 100 x cosine and share of each sentence, and its scale."""

    model: str
    scores: list[float]
    probabilities: list[float]
    scale: float

    def rank(self, number: int) -> int:
        """The place of sentence `number`, 1 the best; equal scores share a place."""
        return 1 + sum(score > self.scores[number] for score in self.scores)

    @property
    def margin(self) -> float | None:
        """The first sentence's score less the best of the others; None where there are no others."""
        return self.scores[0] - max(self.scores[1:]) if len(self.scores) > 1 else None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = "The same picture and sentences through two models or more, side by side."
    parser.epilog = EXAMPLES
    parser.add_argument("image", metavar="IMAGE", help="a picture file")
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="sentences, the right one first")
    parser.add_argument("--json", action="store_true", help="print JSON instead of bars")
    group = parser.add_argument_group("the models")
    group.add_argument(
        "--models",
        default=DEFAULT,
        metavar="A,B",
        help=f"embedded models, official names or checkpoint files, commas between them (default {DEFAULT})",
    )
    door.add_device_options(group)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Answer, print, and return the exit code."""
    names = split_names(options.models)
    if not options.sentences:
        raise UserError('no sentence given; write them behind the picture: compare cat.jpg "a cat" "a dog"')
    open_image(options.image)  # a wrong name shows before large models are fetched and loaded
    results, sentences = [], list(options.sentences)
    for name in names:  # one after the other: two large models need not fit into memory together
        one = copy.copy(options)
        one.model = name
        model = door.load_dual_encoder(one)
        sentences = door.check_texts(options.sentences, "sentence", model)
        results.append(score(name, model, door.read_picture(options.image, model), sentences))
    if len(sentences) == 1:
        notice("one sentence alone has no margin; give at least two, the right one first")
    if options.json:
        models = [{**one._asdict(), "ranks": ranks(one), "margin": one.margin} for one in results]
        print(json.dumps({"picture": options.image, "sentences": sentences, "models": models}, indent=2))
    else:
        print("\n".join(lines(sentences, results)))
    return 0


def split_names(text: str) -> list[str]:
    """The models of --models.

    Raises:
        UserError: fewer than two, one twice, an empty name, too many.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UserError(f"--models {text!r} has an empty name; write them with one comma between: {DEFAULT}")
    if len(names) < 2:
        raise UserError(f"--models names {names[0]} alone; comparing takes two or more with commas between: {DEFAULT}")
    if len(names) > MOST:
        raise UserError(f"--models names {len(names)} models, at most {MOST} are compared at a time")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--models names {twice[0]} more than once")
    return names


@torch.no_grad()
def score(name: str, model: DualEncoder, image: Image.Image, sentences: Sequence[str]) -> Scores:
    """100 x cosine of one picture with each sentence, and the probabilities among them."""
    texts = label_embeddings(model, sentences, ("{}",))  # (T, E), unit vectors
    pixels = model.preprocess(image)[None].to(texts.device, texts.dtype)  # type: ignore[operator]  # (1, 3, H, W)
    cosine = (F.normalize(model.encode_image(pixels), dim=-1) @ texts.T)[0].cpu().double()  # (T,)
    scale = model.logit_scale.exp().cpu().double()
    return Scores(name, (100 * cosine).tolist(), (scale * cosine).softmax(dim=-1).tolist(), scale.item())


def ranks(result: Scores) -> list[int]:
    """The place of every sentence."""
    return [result.rank(number) for number in range(len(result.scores))]


def lines(sentences: Sequence[str], results: Sequence[Scores]) -> list[str]:
    """Under each sentence a line a model: rank, score, bar; at the end the margins."""
    names = [printable(result.model) for result in results]
    room = min(max(map(columns, names)), max(8, width() * 2 // 5))
    low = min(0.0, *(min(result.scores) for result in results))
    high = max(0.0, *(max(result.scores) for result in results))
    bars = max(2, min(40, width() - room - 16))
    told = []
    for number, sentence in enumerate(sentences):
        told.append(fit(printable(sentence), width()).rstrip())
        for name, result in zip(names, results):
            value = result.scores[number]
            shown = signed_bar(value, low, high, bars)
            told.append(f"  {fit(name, room)} {result.rank(number):3d}. {value:6.1f}  {shown}".rstrip())
    if len(sentences) > 1:
        told.append(fit("margin of the first sentence, and its probability", width()).rstrip())
        for name, result in zip(names, results):
            told.append(f"  {fit(name, room)} {result.margin:+6.1f} {result.probabilities[0]:6.1%}")
    return told


def signed_bar(value: float, low: float, high: float, room: int) -> str:
    """A bar from 0 to `value` in a field of `room` columns from `low` to `high`: to the left of | what is negative."""
    block = BLOCK if can_show(BLOCK) else "#"
    step = (room - 1) / max(high - low, 1e-9)
    left, length = round(-low * step), round(abs(value) * step)
    return (" " * (left - length) + block * length if value < 0 else " " * left) + "|" + block * length * (value >= 0)
