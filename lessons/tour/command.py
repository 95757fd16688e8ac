"""The tour: the small trained model at work, and the proof that the models are right: `python -m lessons tour`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from checkpoints_convert.load import load
from lessons.stickers.scenes import GRID
from lessons.tour import html_page
from lessons.tour import pictures as sheet
from lessons.tour.match import match_stage
from lessons.tour.refer import refer_stage
from lessons.tour.segment import segment_stage
from lessons.tour.stages import Section, Tour, limits_stage, parity_stage, search_stage, zero_shot_stage
from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.pixels.opening import save_picture
from minimodels.terminal import door
from minimodels.terminal.parser import Parser, guarded, whole_number
from minimodels.terminal.printing import printable

STAGES: tuple[tuple[str, Callable[[Tour], Section]], ...] = (
    ("zero-shot", zero_shot_stage),
    ("search", search_stage),
    ("segment", segment_stage),
    ("refer", refer_stage),
    ("match", match_stage),
    ("limits", limits_stage),
    ("parity", parity_stage),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tour. Exit code 0; 1 when something that must hold does not; 2 for a mistake that can be put right."""
    return guarded(lambda: run(read_options(arguments)))


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    about = "The small models at work on sticker scenes, and the proof that they are right. Offline, under 90 seconds."
    parser = Parser(prog="python -m lessons tour", description=about)
    parser.add_argument(
        "-o", "--output", default="tour", metavar="DIR", help="where pictures and report go (default tour)"
    )
    parser.add_argument("--scenes", type=whole_number, default=500, metavar="N", help="to search in (default 500)")
    door.add_model_options(parser)
    parser.set_defaults(load_official=load)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """All stages one after the other, then the report, the picture, and what to do next."""
    folder = Path(options.output)
    check_folder(folder)
    model = door.load_dual_encoder(options)
    if getattr(model.image_tower, "image_size", None) != GRID:
        raise UserError(f"the tour shows models that read pictures of {GRID} pixels; {options.model} does not")
    tour = Tour(folder, model, options.model, options.scenes)
    sections, began = [], time.monotonic()
    print("The tour. Everything runs on this machine, nothing is fetched.")
    for number, (name, stage) in enumerate(STAGES, start=1):
        print(f"  {number}/{len(STAGES)}  {name:10s} ", end="", flush=True)
        start = time.monotonic()
        try:
            sections.append(stage(tour))
        except BaseException:
            print(flush=True)  # what went wrong gets a line of its own
            raise
        print(printable(f"{time.monotonic() - start:5.1f} s   {sections[-1].summary}"))
    save_picture(sheet.stack([row for section in sections for row in section.rows]), folder / "tour.png")
    with write_aside(folder / "index.html") as aside:
        aside.write_text(make_page(tour, sections), encoding="utf-8")
    print(f"done in {time.monotonic() - began:.0f} s\n")
    print(ending(folder))
    return 0 if all(section.ok for section in sections) else 1


def check_folder(folder: Path) -> None:
    """Make the output folder, before anything is computed for it.

    Raises:
        UserError: it cannot be made or written.
    """
    with write_aside(folder / "tour.png") as aside:
        aside.write_bytes(b" ")
    (folder / "tour.png").unlink()


def make_page(tour: Tour, sections: Sequence[Section]) -> str:
    """The report."""
    lead = (
        f"Made by `python -m lessons tour` with {tour.model_name}, a CLIP small enough to come with the book, trained "
        "from nothing on Sticker World: scenes made of 64 stickers and six backgrounds. All scenes here are from seeds "
        "it never saw. It reads pictures of 64 pixels; they are drawn larger here. tiny-clipseg, which finds things, "
        "stands on it. On photographs both only guess: for those there are the official weights, see the end of this "
        "page."
    )
    pieces = [html_page.paragraph(lead, "lead")]
    for section in sections:
        pieces += [
            "<section>",
            f"<h2>{html_page.words(section.title)}</h2>",
            html_page.paragraph(section.summary, "summary"),
            *section.body,
            "</section>",
        ]
    pieces += ["<section><h2>What to do next</h2>", html_page.commands(next_commands(tour.folder)), "</section>"]
    return html_page.page("Pixels & Prompts: the tour", pieces)


def ending(folder: Path) -> str:
    """What was written, and what to do next."""
    wrote = {
        folder / "index.html": "the report: open it in a browser",
        folder / "tour.png": "the same in one picture",
        folder / "samples": "scenes for zero-shot",
        folder / "scenes": "scenes to search in, with their index",
        folder / "segments": "scenes to segment",
        folder / "sentences": "scenes to ask for one thing among others",
        folder / "pair": "two scenes and a mask, to match",
    }
    lines = ["wrote", *(f"  {str(path):20s}  {what}" for path, what in wrote.items()), "", "next"]
    return printable_lines([*lines, *(f"  {line}" for line in next_commands(folder))])


def printable_lines(lines: Sequence[str]) -> str:
    """Lines as the terminal's encoding can show them, their spaces kept."""
    encoding = sys.stdout.encoding or "ascii"
    return "\n".join(lines).encode(encoding, errors="backslashreplace").decode(encoding)


def next_commands(folder: Path) -> list[str]:
    """Commands to try, with the Python that runs now."""
    python = python_name()
    pair = " ".join(str(folder / "pair" / f"{name}.png") for name in ("reference", "mask", "target"))
    return [
        f"{python} -m minimodels zero-shot {folder / 'samples' / '0000.png'} dog cat rocket castle",
        f'{python} -m minimodels search {folder / "scenes"} "an owl" -o hits.png',
        f'{python} -m minimodels segment {folder / "segments" / "0000.png"} "a key" "a gift" -o segments.png',
        f"{python} -m minimodels match {pair} --both-ways -o matches.png",
        f'{python} -m minimodels segment {folder / "sentences" / "0000.png"} "the shoe on the left" '
        '"the shoe on the right" --model tiny-lavt',
        f"{python} -m checkpoints_convert fetch {door.OFFICIAL}   # 600 MB, for photographs:",
        f'{python} -m minimodels zero-shot YOUR_PHOTO.jpg "a cat" "a dog" --model {door.OFFICIAL}',
        f"{python} -m lessons list",
        "make book",
    ]


def python_name() -> str:
    """How to call this Python from here: a path inside the current folder (.venv) is written as such."""
    here, found = Path.cwd(), Path(os.path.abspath(sys.executable))  # noqa: PTH100 (resolve would leave the environment)
    return str(found.relative_to(here)) if found.is_relative_to(here) else "python"
