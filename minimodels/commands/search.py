"""`python -m minimodels search`: which pictures of a folder fit these words? (lesson 3.5)."""

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw

from minimodels.clip import DualEncoder
from minimodels.errors import UserError
from minimodels.pixels.drawing import picture_sheet, text_font
from minimodels.pixels.opening import check_ending, save_picture
from minimodels.stored.search_index import Index, list_pictures, open_index
from minimodels.terminal import door
from minimodels.terminal.parser import whole_number
from minimodels.terminal.printing import fit, notice, printable, width
from minimodels.words.templates import label_embeddings

SHEET = "hits.png"
Result = tuple[str, list[tuple[int, float]]]  # a text and its hits: numbers in the index and cosines
EXAMPLES = """
examples:
  python -m minimodels search photos/ "a dog on a beach"
  python -m minimodels search photos/ "a red car" "a birthday cake" --top 5 -o hits.png
  python -m minimodels search photos/ sunset --model openai/clip-vit-base-patch32 --json

The first search embeds every picture in the folder and in the folders inside
it, and keeps the result next to them in .pixels-and-prompts.MODEL.safetensors
(in your cache where the folder cannot be written). Later searches embed only
what is new or changed. That file may be deleted at any time.

The score is the cosine between text and picture. It orders the pictures for
one text, and says little between two texts.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = "%(prog)s FOLDER TEXT [TEXT ...] [options]"
    parser.description = "Which pictures of a folder fit these words? CLIP compares the words with each picture."
    parser.epilog = EXAMPLES
    parser.add_argument("folder", metavar="FOLDER", help="a folder with pictures")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="what to look for; several texts are several searches")
    parser.add_argument("--top", type=whole_number, default=3, metavar="N", help="hits a text (default 3)")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help=f"the picture sheet of the hits (default {SHEET}; with --json none)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    door.add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Search, print, write the sheet, and return the exit code."""
    if not options.texts:
        raise UserError('no text given; write it behind the folder: search photos/ "a dog on a beach"')
    output = check_ending(options.output or SHEET)
    folder = Path(options.folder)
    stamps = list_pictures(folder, leave_out=output)
    model = door.load_dual_encoder(options)
    texts = door.check_texts(options.texts, "text", model)
    index = open_index(folder, stamps, model, options.model)
    results = find(index, model, texts, options.top)
    pictures = {number: door.read_picture(index.path(number), model) for _, hits in results for number, _ in hits}
    show(results, index, options)
    if options.output or not options.json:
        write_sheet(draw_sheet(results, index, pictures), output, options)
    return 0


def find(index: Index, model: DualEncoder, texts: list[str], top: int) -> list[Result]:
    """For each text the numbers and cosines of its `top` best pictures, the best first."""
    vectors = label_embeddings(model, texts, ("{}",)).float().cpu()  # (T, E)
    best = (vectors @ index.vectors.T).topk(min(top, len(index.vectors)))  # (T, top)
    return [(text, list(zip(*row))) for text, row in zip(texts, zip(best.indices.tolist(), best.values.tolist()))]


def show(results: list[Result], index: Index, options: argparse.Namespace) -> None:
    """The hits on stdout."""
    if options.json:
        answers = [
            {"text": text, "hits": [{"picture": str(index.path(number)), "cosine": score} for number, score in hits]}
            for text, hits in results
        ]
        print(json.dumps({"model": options.model, "pictures": len(index.stamps), "searches": answers}, indent=2))
        return
    for text, hits in results:
        print(fit(printable(f"{text} (best of {len(index.stamps):,} pictures)"), width()).rstrip())
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
    """One row of pictures a text, the text above it, place, score and name below each."""
    strips = []
    for text, hits in results:
        captions = [f"{place}.  {score:.3f}\n{index.path(n).name}" for place, (n, score) in enumerate(hits, start=1)]
        strips.append(with_title(picture_sheet([pictures[number] for number, _ in hits], captions), text))
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
