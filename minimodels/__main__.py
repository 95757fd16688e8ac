"""The models on your own pictures: `python -m minimodels zero-shot | search | segment | match`."""

import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from minimodels.commands import match, search, segment, zero_shot
from minimodels.terminal.door import Parser, guarded

COMMANDS = (zero_shot, search, segment, match)
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


def load_official(name: str, **options: Any) -> nn.Module:
    """An official name or any checkpoint file: the one door to checkpoints_convert, opened only when asked."""
    from checkpoints_convert.load import load

    return load(name, **options)


def make_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(prog="python -m minimodels", description="The models on your own pictures.", epilog=EXAMPLES)
    parser.set_defaults(load_official=load_official)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""

    def run() -> int:
        options = make_parser().parse_args(arguments)
        code: int = options.run(options)
        return code

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
