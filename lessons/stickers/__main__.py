"""`python -m lessons.stickers`: look at Sticker World, draw its sheet again, see what shortcuts score on it."""

import argparse
import re
import sys
from pathlib import Path

from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.terminal.parser import whole_number

from . import baselines, refer, sheet
from .contact import contact_sheet
from .splits import SPLITS, TEST


def contact(arguments: argparse.Namespace) -> None:
    """Write the contact sheet."""
    picture = contact_sheet(SPLITS[arguments.split], arguments.start)
    with write_aside(arguments.out) as aside:
        picture.save(aside)
    print(
        f"wrote {arguments.out}: captions, expressions of {len(refer.KINDS)} kinds with their pixels, questions, pairs"
    )


def shortcuts(arguments: argparse.Namespace) -> None:
    """Print how often each shortcut finds the sticker that is meant, by kind of expression."""
    print(f"{arguments.count} expressions of each kind, plain and hard, split test")
    print(f"{'':22}" + "".join(f"{name:>22}" for name in baselines.SHORTCUTS))
    for kind in refer.KINDS:
        for hard in (False, True):
            asked = [refer.expression(number, TEST, kind, hard) for number in range(arguments.count)]
            right = (sum(map(shortcut, asked)) / len(asked) for shortcut in baselines.SHORTCUTS.values())
            print(f"{kind + (', hard' if hard else ''):22}" + "".join(f"{share:22.1%}" for share in right))


def scene(text: str) -> int:
    """A type for argparse: the number of a scene."""
    if not re.fullmatch("[0-9]{1,11}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:20]!r} is not the number of a scene: a whole number of at most 11 digits"
        )
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lessons.stickers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "contact", help="a picture of many scenes with captions, expressions and their pixels, questions"
    )
    command.add_argument(
        "-o", "--out", type=Path, default=Path("contact.png"), help="file to write (default contact.png)"
    )
    command.add_argument("--split", choices=list(SPLITS), default="train")
    command.add_argument("--start", type=scene, default=0, help="number of the first scene (default 0)")
    command.set_defaults(run=contact)
    command = commands.add_parser("sheet", help="render sheet.png again from the Noto Color Emoji font")
    command.add_argument("--font", help="path of NotoColorEmoji.ttf (default: where systems keep it)")
    command.add_argument(
        "-o", "--out", type=Path, default=sheet.SHEET, help="file to write (default: the package's own)"
    )
    command.set_defaults(run=lambda a: print(f"wrote {sheet.render_sheet(a.font, a.out)}"))
    command = commands.add_parser(
        "shortcuts", help="what chance, colour and half-read sentences score on referring expressions"
    )
    command.add_argument("--count", type=whole_number, default=300, help="expressions of each kind (default 300)")
    command.set_defaults(run=shortcuts)
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except (UserError, OSError) as error:
        print(f"lessons.stickers: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
