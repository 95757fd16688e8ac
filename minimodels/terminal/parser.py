"""How a command line is read and how it ends: without torch, so that help comes at once."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from minimodels.errors import UserError
from minimodels.terminal.printing import forget_notices, printable


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one line, as everywhere else; help keeps its line breaks."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print with its usage and exit for."""
        raise UserError(f"{message}; see {self.prog} --help")


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


def whole_number(text: str) -> int:
    """A type for argparse: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
