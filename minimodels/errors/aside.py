"""Writing a file whole or not at all.

What is under way has a name of its own, `.aside-....`, hidden, so nobody takes it for a finished file. It vanishes when
the block fails, also by SIGTERM or SIGHUP. After `kill -9` or a power cut it stays; the next writer in that folder
takes it away: whoever still writes holds a lock on it.
"""

import os
import re
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from minimodels.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks: leftovers stay, hidden
    fcntl = None  # type: ignore[assignment]

ASIDE = re.compile(r"\.aside-[0-9a-f]{12}(\..*)?")
ENDINGS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` when the block ends well, else remove it.

    A file that is replaced keeps its mode; a new one gets the usual mode.

    Raises:
        UserError: the folder cannot be made or written (read-only, full, a file in the way), or what has this name is
            no file: /dev/null must stay what it is.
    """
    path = Path(path)
    with _ending_in_order():
        try:
            if path.exists() and not path.is_file():
                raise UserError(f"cannot write {path}: it is a folder or a device. Choose another name.")
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                path.lstat()
            clean(path.parent)
            handle, aside = _make(path)
        except (OSError, ValueError) as error:  # a name that no file can have (NUL, half a character) is a ValueError
            reason = getattr(error, "strerror", "") or error
            raise UserError(f"cannot write {path}: {reason}. Choose another folder.") from error
        try:
            yield aside
            if path.exists():
                aside.chmod(path.stat().st_mode & 0o777)
            os.fsync(handle)  # a full disk may show only now
            if fcntl is None:  # Windows renames no open file
                os.close(handle)
                handle = -1
            aside.replace(path)
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}. Free some space or choose another folder."
            ) from error
        finally:
            if handle >= 0:
                os.close(handle)
            aside.unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Take away what writers left in a folder who are no more."""
    if fcntl is None:
        return
    for left in [file for file in folder.iterdir() if ASIDE.fullmatch(file.name)]:
        with suppress(OSError):  # somebody writes it, or somebody else takes it away
            handle = os.open(left, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
            finally:
                os.close(handle)


def _make(path: Path) -> tuple[int, Path]:
    """A new empty file beside `path`, open and locked, with the mode that the process gives to its files."""
    while True:
        aside = path.parent / f".aside-{secrets.token_hex(6)}{path.suffix}"
        handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if fcntl is None:
            return handle, aside
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, aside
        os.close(handle)  # another writer took it for a leftover in the moment before the lock


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program by an exception while the block runs, unless it has its own answer to them.

    None is lost: one that comes while the old answers are put back is held until they are (Python forgets a signal
    whose answer is taken away before its turn), and where somebody swallowed the exception, it is raised again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in ENDINGS if signal.getsignal(number) is signal.SIG_DFL]
    came: list[int] = []
    inside = True

    def answer(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if inside:
            raise SystemExit(128 + number)

    for number in ours:
        signal.signal(number, answer)
    try:
        yield
    finally:
        inside = False
        masks = hasattr(signal, "pthread_sigmask")  # Windows has none
        held = signal.pthread_sigmask(signal.SIG_BLOCK, ours) if masks else set()
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
    if came:
        raise SystemExit(128 + came[0])
