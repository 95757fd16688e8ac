"""The command lines, in this process: what they print is checked as well as how they end."""

import contextlib
import io
import unicodedata
from collections.abc import Callable, Sequence

from tests.fuzz.cases import Wrong

LONGEST = 8_000  # letters of an error


class Stream(io.StringIO):
    """Standard output as text of an encoding that has every letter but lone surrogates."""

    encoding = "utf-8"
    mistakes = "strict"

    def reconfigure(self, errors: str) -> None:
        """As the streams of a terminal: what to do with what the encoding cannot hold."""
        self.mistakes = errors

    def write(self, text: str) -> int:
        return super().write(text.encode("utf-8", self.mistakes).decode())


def command(main: Callable[[Sequence[str]], int], *arguments: str) -> tuple[int, str]:
    """Run one command line: exit code and standard output, or `Wrong` where it does not end as it should."""
    out, err = Stream(), Stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as leave:  # --help
            code = leave.code if isinstance(leave.code, int) else 99
    lines = err.getvalue().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if code not in (0, 1, 2) or (code == 2) != (len(errors) == 1):
        raise Wrong(f"how a command ends: code {code}, {len(errors)} errors: {err.getvalue()[:300]!r}")
    if any(not line.startswith(("error: ", "note: ")) for line in lines):
        raise Wrong(f"stderr holds more than notes and one error: {err.getvalue()[:300]!r}")
    if errors and len(errors[0]) > LONGEST:
        raise Wrong(f"an error of {len(errors[0])} letters: {errors[0][:200]!r}")
    for stream in (out, err):
        raw = [letter for letter in stream.getvalue() if unicodedata.category(letter) == "Cc" and letter != "\n"]
        if raw:
            at = stream.getvalue().index(raw[0])
            raise Wrong(f"a raw control character is printed: {stream.getvalue()[max(0, at - 60) : at + 20]!r}")
    return code, out.getvalue()
