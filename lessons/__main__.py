"""python -m lessons: your progress, and the exercises of the book.

    python -m lessons                    what is done and what comes next
    python -m lessons start 2.1          copy the exercises of lesson 2.1 into my/ (start 2.1.2: one of them)
    python -m lessons check 2.1.2        compare yours with the reference and name the mistake
    python -m lessons hint 2.1.2         the next hint
    python -m lessons solution 2.1.2     ours, after a try
    python -m lessons run 2.3            run a lesson's script
    python -m lessons read 2.3           open a lesson's page
    python -m lessons tour               CLIP at work, in a minute

Exit codes: 0 passed or done, 1 not yet, 2 it could not be run (the message says why).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from lessons.desk import commands
from lessons.desk.progress import Desk, LessonError, find_folder
from minimodels.errors import UserError, one_line
from minimodels.terminal.parser import check_values, seed


class Parser(argparse.ArgumentParser):
    """Mistakes in the arguments are one line."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        check_values(sys.argv[1:] if args is None else args, self.error)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise LessonError(f"{message}; see {self.prog} --help")


def make_parser() -> Parser:
    """All subcommands with their options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="python -m lessons", description=__doc__, formatter_class=raw)
    subs = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    number = {"metavar": "NUMBER", "help": "a lesson (2.1) or an exercise (2.1.2)"}

    one = subs.add_parser("start", help="copy stubs into your folder; what is yours stays")
    one.add_argument("number", **number)
    one.add_argument("--force", action="store_true", help="begin again; your version is kept as a backup")

    add_check(subs, number)

    one = subs.add_parser("hint", help="the next hint")
    one.add_argument("number", **number)
    one.add_argument("--all", action="store_true", help="all hints at once")

    one = subs.add_parser("solution", help="our solution, after a try of yours")
    one.add_argument("number", **number)
    one.add_argument("--anyway", action="store_true", help="without a try")

    one = subs.add_parser("run", help="run a lesson's script")
    one.add_argument("number", metavar="NUMBER", help="a lesson (2.3)")
    one.add_argument("arguments", nargs=argparse.REMAINDER, help="handed on to the script")

    one = subs.add_parser("read", help="open a lesson's page, or say how to build it")
    one.add_argument("number", metavar="NUMBER", help="a lesson (2.3)")
    one.add_argument("--print", action="store_true", help="print where it is, open nothing")

    one = subs.add_parser("reset", help="fresh stubs, tries forgotten; your versions are kept as backups")
    one.add_argument("number", metavar="NUMBER", help="a lesson, an exercise, or the word all")

    subs.add_parser("list", help="numbers and titles")
    subs.add_parser("tour", help="CLIP at work on sticker scenes (options: tour --help)", add_help=False)
    return parser


def add_check(subs: argparse._SubParsersAction, number: dict) -> None:
    """The options of check; the last four are for teachers."""
    one = subs.add_parser(
        "check",
        help="compare yours with the reference and name the mistake",
        description="Without a number everything that was started is checked. Exit code 0: all passed, 1: not yet, "
        "2: it could not be run. To mark a class: check 2.1 --json --folder hand_in/*",
    )
    one.add_argument("numbers", nargs="*", **number)
    one.add_argument("--json", action="store_true", help="the whole result as JSON")
    one.add_argument(
        "--folder", nargs="+", metavar="DIR", help="check these folders instead of yours; no record is kept"
    )
    one.add_argument("--time-limit", type=seconds, default=10.0, metavar="S", help="seconds an exercise may run (10)")
    one.add_argument("--seed", type=seed, default=0, help="other random inputs (default 0)")


def seconds(text: str) -> float:
    """A positive number of seconds."""
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("expected seconds between 0 and 3600")
    return value


def dispatch(arguments: list[str]) -> int:
    """Run one command."""
    if arguments[:1] == ["tour"]:
        from lessons.tour import command

        return command.main(arguments[1:])
    asked = make_parser().parse_args(arguments)
    desk = Desk.open(find_folder())
    if desk.notice:
        print(f"note: {one_line(desk.notice)}", file=sys.stderr)
    if asked.command is None:
        return commands.show_table(desk)
    name = "list_all" if asked.command == "list" else asked.command
    return getattr(commands, name)(asked, desk)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. What a learner can put right is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # consoles that cannot show a character show a question mark
    try:
        code = dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except (LessonError, UserError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
    except BrokenPipeError:  # the reader has gone (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: {error.filename or 'files'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
