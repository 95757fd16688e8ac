"""The models on your own pictures: `python -m minimodels COMMAND`, a command for each file in `commands/`."""

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimodels.terminal.parser import Parser, guarded

if TYPE_CHECKING:
    from torch import nn

COMMANDS = Path(__file__).parent / "commands"
QUESTION = re.compile(r'"""`python -m minimodels ([a-z-]+)`: ([^?]+\?)')  # how the file of a command begins
EXAMPLES = """
examples:
  python -m minimodels zero-shot cat.jpg cat dog "a red car"
  python -m minimodels search photos/ "a dog on a beach" -o hits.png
  python -m minimodels segment tour/segments/0000.png "a key" "a gift" -o out.png
  python -m minimodels match ref.png mask.png target.png --both-ways
  python -m minimodels zero-shot --help

Without --model, all use the small weights that come with the book. They know
the stickers of Sticker World (`python -m lessons tour` makes some scenes) and
no photographs; for those: --model openai/clip-vit-base-patch32, and for
segment --model CIDAS/clipseg-rd64-refined.
"""


def load_official(name: str, **options: Any) -> "nn.Module":
    """An official name or any checkpoint file: the one door to checkpoints_convert, opened only when asked."""
    from checkpoints_convert.load import load

    return load(name, **options)


def find_commands() -> dict[str, str]:
    """The commands and the question that each answers, read off their files: importing them all would take seconds."""
    starts = [QUESTION.match(file.read_text(encoding="utf-8")) for file in sorted(COMMANDS.glob("[!_]*.py"))]
    return {start[1]: start[2] for start in starts if start}


def make_parser(arguments: Sequence[str]) -> Parser:
    """All commands, and the options of the one that these arguments name."""
    parser = Parser(prog="python -m minimodels", description="The models on your own pictures.", epilog=EXAMPLES)
    parser.set_defaults(load_official=load_official)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    known = find_commands()
    wanted = next((word for word in arguments if word in known), None)
    for name, question in known.items():
        own = commands.add_parser(name, help=question)
        if name == wanted:
            importlib.import_module(f"minimodels.commands.{name.replace('-', '_')}").add_options(own)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments

    def run() -> int:
        options = make_parser(words).parse_args(words)
        code: int = options.run(options)
        return code

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
