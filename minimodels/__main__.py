"""The models on your own pictures: `python -m minimodels zero-shot | search`."""

import os
import sys
from collections.abc import Sequence

from minimodels.commands import search, zero_shot
from minimodels.commands.shared import Parser
from minimodels.commands.terminal import forget_notices, printable
from minimodels.errors import UserError

COMMANDS = (zero_shot, search)
EXAMPLES = """
examples:
  python -m minimodels zero-shot cat.jpg cat dog "a red car"
  python -m minimodels search photos/ "a dog on a beach" -o hits.png
  python -m minimodels zero-shot --help

Without --model the small weights answer that come with the book. They know
the stickers of Sticker World (`python -m lessons tour` shows some) and no
photographs; for those: --model openai/clip-vit-base-patch32.
"""


def make_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(prog="python -m minimodels", description="The models on your own pictures.", epilog=EXAMPLES)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line. What a person can put right ends as one line on stderr and exit code 2, Ctrl-C with 130."""
    forget_notices()
    try:
        options = make_parser().parse_args(arguments)
        code = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone (`| head`): nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return fail("not enough memory; close other programs, or use a smaller model or picture")
    except UserError as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"{error.filename or 'writing'}: {error.strerror or error}")
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        return fail("the device is out of memory; use a smaller model, --dtype bfloat16 or --device cpu")


def fail(message: str) -> int:
    """One line on stderr; the exit code of a mistake that a person can put right."""
    print(f"error: {printable(message, sys.stderr)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
