"""`python -m minimodels search`: which pictures of a folder fit these words, or look like this one? (lesson 3.5)."""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from minimodels.clip import DualEncoder
from minimodels.errors import UserError
from minimodels.pixels.drawing import picture_sheet, text_font
from minimodels.pixels.opening import check_output, open_image, save_picture
from minimodels.stored.search_index import Index, embed_batch, list_pictures, open_index
from minimodels.terminal import door
from minimodels.terminal.parser import whole_number
from minimodels.terminal.printing import fit, notice, printable, width
from minimodels.words.templates import label_embeddings

SHEET = "hits.png"
EXAMPLES = """
examples:
  python -m minimodels search photos/ "a dog on a beach"
  python -m minimodels search photos/ "a red car" "a birthday cake" --top 5 -o hits.png
  python -m minimodels search photos/ --like dog.jpg
  python -m minimodels search photos/ "a dog" --like dog.jpg --like photos/cat.jpg --top 5
  python -m minimodels search photos/ sunset --model openai/clip-vit-base-patch32 --json

The first search embeds every picture in the folder and in the folders inside
it, and keeps the result next to them in .pixels-and-prompts.MODEL.safetensors
(in your cache where the folder cannot be written). Later searches embed only
what is new or changed. That file may be deleted at any time.

Each text and each --like picture is a search of its own. A picture of the
folder is not found by itself: it is left out of its own hits.

The score is the cosine between text and picture, or between two pictures. It
orders the pictures of one search and says little between two searches: as a
rule a picture is closer to other pictures than to any text.
"""


class Query(NamedTuple):
    """What is looked for: a text, or a picture by its path; `itself` says where the index has the same file."""

    name: str
    vector: Float[Tensor, "embed_dim"]
    picture: Image.Image | None = None
    itself: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """Above its hits."""
        return self.name if self.picture is None else f"like {Path(self.name).name}"


Result = tuple[Query, list[tuple[int, float]]]  # a query and its hits: numbers in the index and cosines


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = "%(prog)s FOLDER TEXT [TEXT ...] [options]\n       %(prog)s FOLDER [TEXT ...] --like IMAGE [options]"
    parser.description = (
        "Which pictures of a folder fit these words, or look like this one? CLIP compares each with every picture."
    )
    parser.epilog = EXAMPLES
    parser.add_argument("folder", metavar="FOLDER", help="a folder with pictures")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="what to look for; several texts are several searches")
    parser.add_argument("--top", type=whole_number, default=3, metavar="N", help="hits a search (default 3)")
    parser.add_argument(
        "--like", action="append", default=[], metavar="IMAGE", help="a picture to look for; may be given several times"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help=f"the picture sheet of the hits (default {SHEET}; with --json none)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    door.add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Search, print, write the sheet, and return the exit code."""
    if not options.texts and not options.like:
        raise UserError(
            'no text given; write it behind the folder: search photos/ "a dog on a beach" (or show one: --like dog.jpg)'
        )
    output = check_output(options.output or SHEET, *options.like)
    folder = Path(options.folder)
    stamps = list_pictures(folder, leave_out=output)
    for path in options.like:
        open_image(path)  # a wrong name shows before a large model is fetched and loaded
    model = door.load_dual_encoder(options)
    texts = door.check_texts(options.texts, "text", model) if options.texts else []
    index = open_index(folder, stamps, model, options.model)
    queries = text_queries(model, texts) + [like_query(model, path, index) for path in dict.fromkeys(options.like)]
    results = [(query, find(index, query, options.top)) for query in queries]
    pictures = {number: door.read_picture(index.path(number), model) for _, hits in results for number, _ in hits}
    show(results, index, options)
    if options.output or not options.json:
        write_sheet(draw_sheet(results, index, pictures), output, options)
    return 0


def text_queries(model: DualEncoder, texts: list[str]) -> list[Query]:
    """Unit vectors of texts."""
    if not texts:
        return []
    return [Query(*one) for one in zip(texts, label_embeddings(model, texts, ("{}",)).float().cpu())]


def like_query(model: DualEncoder, path: str, index: Index) -> Query:
    """The unit vector of a picture, and where in the index the same file is.

    Raises:
        UserError: it cannot be read, or the folder holds no other picture.
    """
    picture = door.read_picture(path, model)
    vector = embed_batch(model, model.preprocess(picture)[None])[0]  # type: ignore[operator]
    same = tuple(number for number in range(len(index.stamps)) if index.path(number).samefile(path))
    if len(same) == len(index.stamps):
        raise UserError(f"{index.folder} holds no picture beside {path} itself, which is not found by itself")
    return Query(path, vector, picture, same)


def find(index: Index, query: Query, top: int) -> list[tuple[int, float]]:
    """The numbers and cosines of the `top` best pictures, the best first; without the query itself."""
    cosines = index.vectors @ query.vector  # (N,)
    cosines[list(query.itself)] = -torch.inf
    best = cosines.topk(min(top, others(index, query)))
    return list(zip(best.indices.tolist(), best.values.tolist()))


def others(index: Index, query: Query) -> int:
    """How many pictures are searched."""
    return len(index.stamps) - len(query.itself)


def show(results: list[Result], index: Index, options: argparse.Namespace) -> None:
    """The hits on stdout."""
    if options.json:
        answers = [
            {
                "text" if query.picture is None else "like": query.name,
                "hits": [{"picture": str(index.path(number)), "cosine": score} for number, score in hits],
            }
            for query, hits in results
        ]
        print(json.dumps({"model": options.model, "pictures": len(index.stamps), "searches": answers}, indent=2))
        return
    for query, hits in results:
        of = f"{others(index, query):,} {'other ' if query.itself else ''}pictures"
        print(fit(printable(f"{query.title} (best of {of})"), width()).rstrip())
        for place, (number, score) in enumerate(hits, start=1):
            print(f"  {place:2d}  {score:5.3f}  {printable(str(index.path(number)))}")


def write_sheet(sheet: Image.Image, output: Path, options: argparse.Namespace) -> None:
    """The sheet into its file. Where nobody named the file, failing to write it is no error: the hits are printed."""
    try:
        save_picture(sheet, output)
    except UserError as error:
        if options.output:
            raise
        notice(f"no picture sheet: {error}")
        return
    if not options.json:
        print(f"wrote {printable(str(output))}")


def draw_sheet(results: list[Result], index: Index, pictures: dict[int, Image.Image]) -> Image.Image:
    """One row of pictures a search, its title above it, place, score and name below each; first what was shown."""
    strips = []
    for query, hits in results:
        tiles = [pictures[number] for number, _ in hits]
        captions = [f"{place}.  {score:.3f}\n{index.path(n).name}" for place, (n, score) in enumerate(hits, start=1)]
        if query.picture is not None:
            tiles, captions = [query.picture, *tiles], [f"looked for\n{Path(query.name).name}", *captions]
        strips.append(with_title(picture_sheet(tiles, captions), query.title))
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def with_title(sheet: Image.Image, text: str, size: int = 22) -> Image.Image:
    """A sheet with a line of text above it, cut where the sheet ends."""
    font, text = text_font(size), " ".join(text.split())[:300]
    if font.getlength(text) > sheet.width - 24:
        while text and font.getlength(f"{text} ...") > sheet.width - 24:
            text = text[:-1]
        text += " ..."
    titled = Image.new("RGB", (sheet.width, sheet.height + 2 * size), "white")
    titled.paste(sheet, (0, 2 * size))
    ImageDraw.Draw(titled).text((12, size // 2), text, fill="black", font=font)
    return titled
