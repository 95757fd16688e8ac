"""How a command line is read and how it ends: without torch, so that help comes at once."""

import argparse
import itertools
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from minimodels.errors import UserError, one_line
from minimodels.terminal.printing import forget_notices, printable

NO_MEMORY = re.compile("can't allocate memory|not enough memory|could not allocate")  # torch's words on a CPU
TOO_LITTLE = "not enough memory; close other programs, or use a smaller model or picture"


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one line, as everywhere else; help keeps its line breaks."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but refuses what it would take for an empty list."""
        check_values(sys.argv[1:] if args is None else args, self.error)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print with its usage and exit for."""
        raise UserError(f"{message}; see {self.prog} --help")


def check_values(words: Sequence[str], error: Callable[[str], NoReturn]) -> None:
    """Call `error` where an option's value is `--` (`--top=--`, `-o--`, `-o=--`): argparse drops it, asks no type."""
    for word in itertools.takewhile(lambda word: word != "--", words):
        if found := re.fullmatch(r"(--[a-z-]+)=--|(-[a-z])=?--", word):
            error(f"argument {found[1] or found[2]}: expected one argument")


def guarded(run: Callable[[], int]) -> int:
    """Run a command: what a person can put right ends as one line on stderr and exit code 2, Ctrl-C as 130."""
    forget_notices()
    try:
        code = run()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone (`| head`): nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return fail(TOO_LITTLE)
    except UserError as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"{error.filename or 'writing'}: {error.strerror or error}")
    except RuntimeError as error:
        if "out of memory" in str(error):
            return fail("the device is out of memory; use a smaller model, --dtype bfloat16 or --device cpu")
        if NO_MEMORY.search(str(error)):
            return fail(TOO_LITTLE)
        raise


def fail(message: str) -> int:
    """One line on stderr; the exit code of a mistake that a person can put right."""
    print(f"error: {printable(one_line(message), sys.stderr)}", file=sys.stderr)
    return 2


def whole_number(text: str) -> int:
    """A type for argparse: a whole number of at least 1."""
    if not re.fullmatch(r"0*[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{short(text)} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """A type for argparse: what random numbers begin from, a whole number of 64 bits without a sign."""
    if not re.fullmatch(r"[0-9]{1,20}", text) or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"{short(text)} is not a seed: a whole number from 0 to 2^64 - 1")
    return int(text)


def finite(text: str) -> float:
    """A type for argparse: a number that is neither infinite nor NaN."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{short(text)} is not a number")
    return number


def numbers(count: int) -> Any:
    """A type for argparse: so many numbers with commas between them."""

    def read(text: str) -> tuple[float, ...]:
        try:
            found = tuple(float(part) for part in text.split(","))
        except ValueError:
            found = ()
        if len(found) != count or not all(abs(number) < 1e9 for number in found):
            example = "20,31" if count == 2 else "10,20,34,48"
            raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers with commas between them, as {example}")
        return found

    return read


def short(text: str) -> str:
    """What was typed, for a message."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
