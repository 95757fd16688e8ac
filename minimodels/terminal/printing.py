"""Writing to a terminal of any width and encoding: bars, text that fits, notices, a progress line."""

import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

EIGHTHS = " ▏▎▍▌▋▊▉"
BLOCK = "█"
_told: set[str] = set()
_lines: list["Progress"] = []  # the progress line that is shown now, if any


def width() -> int:
    """Columns of the terminal, 80 where there is none."""
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def can_show(text: str, stream: Any = None) -> bool:
    """Whether the stream's encoding has every character of the text."""
    try:
        text.encode(getattr(stream or sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def printable(text: str, stream: Any = None) -> str:
    """The text on one line, without control characters (a file name may hold any), as the stream's encoding can."""
    text = "".join("?" if unicodedata.category(letter) == "Cc" else letter for letter in " ".join(text.split()))
    encoding = getattr(stream or sys.stdout, "encoding", None) or "ascii"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


def columns(text: str) -> int:
    """How many columns a text takes: wide letters (Chinese, emoji) two, marks that join the letter before none."""
    joining = ("Mn", "Me", "Cf")
    return sum(
        0 if unicodedata.category(letter) in joining else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def fit(text: str, room: int) -> str:
    """The text in exactly `room` columns: filled with spaces, or cut with "..." at its end."""
    if columns(text) > room:
        text = text[:room]  # a very long text is cut at once: no letter that counts is narrower than a column
        while text and columns(text) > room - 3:
            text = text[:-1]
        text += "..."[:room]
    return text + " " * (room - columns(text))


def bar(share: float, room: int, *, blocks: bool) -> str:
    """A bar of `share` (0-1) of `room` columns: blocks in eighths of a column, or # where the encoding has none."""
    if not blocks:
        return "#" * round(share * room)
    whole, eighths = divmod(round(share * room * 8), 8)
    return (BLOCK * whole + EIGHTHS[eighths]).rstrip()


def bar_lines(labels: Sequence[str], shares: Sequence[float]) -> list[str]:
    """One line a label: label, percentage, bar. They fit the terminal."""
    shown = [printable(label) for label in labels]
    room = min(max(map(columns, shown)), max(8, width() * 2 // 5))
    blocks = can_show(BLOCK + EIGHTHS)
    rest = max(4, min(40, width() - room - 12))
    return [
        f"  {fit(label, room)} {share:6.1%}  {bar(share, rest, blocks=blocks)}".rstrip()
        for label, share in zip(shown, shares, strict=True)
    ]


def notice(text: str) -> None:
    """Say something beside the answer, on stderr, once in a run however often it is asked for."""
    if text not in _told:
        _told.add(text)
        for line in _lines:
            line.wipe()
        print(f"note: {printable(text, sys.stderr)}", file=sys.stderr)


def forget_notices() -> None:
    """Start a new run: notices are said again."""
    _told.clear()


@contextmanager
def progress(what: str, total: int) -> Iterator["Progress"]:
    """A line on stderr that is written over again and again, wiped at the end; nothing where stderr is no terminal."""
    line = Progress(what, total)
    _lines.append(line)
    try:
        yield line
    finally:
        _lines.remove(line)
        line.wipe()


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A line on stderr with the seconds that a long step has taken, wiped at its end; nothing where stderr is no
    terminal."""
    began, over = time.monotonic(), threading.Event()

    def tick() -> None:
        while not over.wait(1):
            text = f"{printable(what, sys.stderr)} ... {time.monotonic() - began:.0f} s"
            print(f"\r{fit(text, width() - 1)}", end="", file=sys.stderr, flush=True)

    clock = threading.Thread(target=tick, daemon=True)
    if sys.stderr.isatty():
        clock.start()
    try:
        yield
    finally:
        over.set()
        if clock.is_alive():
            clock.join()
            print(f"\r{' ' * (width() - 1)}\r", end="", file=sys.stderr, flush=True)


class Progress:
    """What `progress` gives: call `step(done)` after each piece of work."""

    def __init__(self, what: str, total: int):
        self.what, self.total = what, total
        self.began, self.shown = time.monotonic(), 0.0
        self.live = sys.stderr.isatty()

    def step(self, done: int) -> None:
        """Show that `done` of the total are done, and how long the rest will take; ten times a second at most."""
        now = time.monotonic()
        if not self.live or not done or (now - self.shown < 0.1 and done < self.total):
            return
        self.shown = now
        left = (now - self.began) / done * (self.total - done)
        share = done / self.total
        blocks = can_show(BLOCK + EIGHTHS, sys.stderr)
        text = f"{self.what} {done:,} of {self.total:,} {fit(bar(share, 20, blocks=blocks), 20)} {left:.0f} s left"
        print(f"\r{fit(text, width() - 1)}", end="", file=sys.stderr, flush=True)

    def wipe(self) -> None:
        """Clear the line, so that what comes next starts at its beginning."""
        if self.live and self.shown:
            print(f"\r{' ' * (width() - 1)}\r", end="", file=sys.stderr, flush=True)
