"""What came of a case: fine, refused in one line, or a finding of some kind."""

import gc
import os
import re
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minimodels.errors import UNPRINTABLE, UserError, untrusted
from tests.fuzz.cases import Case, Target, Wrong

HIGH = ("traceback", "wrong", "message", "memory", "slow", "leftover", "hang", "crash")
LOW = ("unforeseen",)  # told in one line, by the last door alone
LONGEST = 8_000  # letters of a message
KEPT = (".pixels-and-prompts.", ".gitignore")  # hidden files that belong where they are
PACKAGES = ("minimodels", "checkpoints_convert", "lessons")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Verdict:
    """What came of a case.

    Args:
        kind: "refused", one of `HIGH` or `LOW`, or the target's own word for a case that went well.
        cause: the same for findings of the same cause, as well as a program can tell.
        detail: for people.
        seconds: processor time.
    """

    kind: str
    cause: str = ""
    detail: str = ""
    seconds: float = 0.0

    @property
    def bad(self) -> bool:
        """Whether it is a finding."""
        return self.kind in HIGH + LOW

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(case: Case, target: Target) -> Verdict:
    """Try a case in a folder of its own, which is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    home = Path.cwd()
    try:
        write_files(folder, case.files)
        os.chdir(folder)
        gc.collect(0)
        before, began = memory(), time.process_time()
        verdict = attempt(case, target, folder)
        seconds, larger = time.process_time() - began, memory() - before
        if not verdict.bad:
            verdict = costly(verdict, seconds, larger, target) or leftovers(verdict, folder, case)
        return Verdict(verdict.kind, verdict.cause, verdict.detail, seconds)
    finally:
        os.chdir(home)
        with suppress(OSError):
            for place in [folder, *folder.rglob("*")]:
                if place.is_dir() and not place.is_symlink():
                    place.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def attempt(case: Case, target: Target, folder: Path) -> Verdict:
    """Try, and name what came of it."""
    with Unforeseen() as unforeseen:
        try:
            verdict = Verdict(target.run(case.values, folder) or "fine")
        except Wrong as error:
            return Verdict(
                "wrong", f"wrong: {case.target}: {re.sub('[0-9]+', 'n', str(error).split(':')[0])}", str(error)
            )
        except UserError as error:
            verdict = refusal(str(error))
        except MemoryError as error:
            return Verdict("memory", f"memory: {place_of(error)}", told(error))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return Verdict("traceback", f"traceback: {type(error).__name__} {place_of(error)}", told(error))
    if verdict.kind in HIGH or not unforeseen.errors:
        return verdict
    cause = unforeseen.errors[0].__cause__ or unforeseen.errors[0]
    return Verdict("unforeseen", f"unforeseen: {type(cause).__name__} {place_of(cause)}", told(cause))


def refusal(message: str) -> Verdict:
    """A refusal is one line that a person can read."""
    if UNPRINTABLE.search(message) or len(message) > LONGEST:
        words = f"a line of {len(message)} letters" if len(message) > LONGEST else "what cannot be printed"
        start = re.sub(r"\S*/\S* ?|[^a-z ]", "", message[:160])[:40]
        return Verdict("message", f"message: {words[:6]} {start!r}", f"{words}: {message[:400]!r}")
    return Verdict("refused")


def costly(verdict: Verdict, seconds: float, larger: int, target: Target) -> Verdict | None:
    """A case that took too long, or made the process much larger."""
    if seconds > target.seconds:
        return Verdict("slow", f"slow: {target.name}", f"{seconds:.1f} s of processor time, {verdict.kind}")
    if larger > target.megabytes:
        return Verdict("memory", f"memory: {target.name}", f"{larger} MB more than before, {verdict.kind}")
    return None


def leftovers(verdict: Verdict, folder: Path, case: Case) -> Verdict:
    """Temporary files that nobody cleaned: all that our writers make begin with a dot. What was asked for does not."""
    asked = Path(str(case.values.get("name", ""))).parts
    left = [place.name for place in folder.rglob(".*") if not place.name.startswith(KEPT) and place.name not in asked]
    if left:
        return Verdict("leftover", f"leftover: {verdict.kind}", f"{len(left)} files left: {left[0]!r}")
    return verdict


class Unforeseen:
    """Records each `Unreadable` that is made, also where somebody turns it into text."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def __enter__(self) -> "Unforeseen":
        def note(error: BaseException, *arguments: Any) -> None:
            UserError.__init__(error, *arguments)
            self.errors.append(error)

        untrusted.Unreadable.__init__ = note  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        del untrusted.Unreadable.__init__


def place_of(error: BaseException) -> str:
    """Where in our code an error came up: the innermost line of ours."""
    frames = traceback.extract_tb(error.__traceback__, limit=-400)
    ours = [frame for frame in frames if any(f"/{package}/" in frame.filename for package in PACKAGES)]
    ours = ours or [frame for frame in frames if "/tests/fuzz/" in frame.filename]
    if not ours:
        return "nowhere"
    file = Path(ours[-1].filename)
    name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name
    return f"{name} {ours[-1].name}"


def told(error: BaseException) -> str:
    """The error and the way to it, in one line."""
    frames = traceback.extract_tb(error.__traceback__, limit=-6)
    way = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]!r} at {way}"


def memory() -> int:
    """The most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files of a case."""
    for name, data in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
