"""Recordings of lessons: made by running a lesson, and whether they can still be trusted."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lessons.book.definitions import Definitions, Place, Used
from lessons.book.runner import differences
from lessons.book.text import OUTPUTS, ROOT, BookError, Lesson, fingerprint, recording


# ---------------------------------------------------------------- recordings
def stale(lesson: Lesson) -> list[str]:
    """Why the recorded outputs cannot be trusted; empty when they can."""
    record = recording(lesson)
    if "broken" in lesson.about:
        return [lesson.about["broken"]]
    if record is None:
        return ["never run"]
    reasons = changes(record["used"])
    files = [output["file"] for cell in record["cells"] for output in cell if "file" in output]
    reasons += [f"{name} is missing" for name in files if not (OUTPUTS / lesson.key / name).is_file()]
    reasons += [
        f"{{={text}}} was never computed"
        for cell in lesson.cells()
        for text in cell.values
        if text not in record["values"]
    ]
    return reasons


def changes(used: Used) -> list[str]:
    """What a run used and is no longer as it was: files by name, definitions as "minimodels/blocks.py: MLP.forward"."""
    found, reasons = Definitions(ROOT, used), []
    for file, known in used.items():
        if not (ROOT / file).is_file():
            reasons.append(f"{file} is gone")
        elif isinstance(known, str):
            reasons += [f"{file} changed"] if fingerprint(ROOT / file) != known else []
        else:
            now = {name: found.hash(Place(file, name)) for name in known}
            reasons += [f"{file}: {name} is gone" for name in now if now[name] is None]
            reasons += [f"{file}: {name} changed" for name in now if now[name] not in (None, known[name])]
    return reasons


def run(lesson: Lesson, out: Path) -> None:
    """Run a lesson in its own process: one thread, fixed hash seed, no colours, so that two machines print the same."""
    settings = {
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "NO_COLOR": "1",
        "COLUMNS": "78",
        "PYTHONUTF8": "1",
        "MPLBACKEND": "Agg",
    }
    command = [sys.executable, "-m", "lessons.book.runner", str(lesson.path), str(out)]
    if subprocess.run(command, cwd=ROOT, env=os.environ | settings).returncode:
        raise BookError(f"{lesson.script} did not run through; its old recording stays")


def record(lesson: Lesson) -> None:
    """Run a lesson and put its recording in place of the old one, once it is whole."""
    with tempfile.TemporaryDirectory() as new:
        run(lesson, Path(new))
        shutil.rmtree(OUTPUTS / lesson.key, ignore_errors=True)
        shutil.copytree(new, OUTPUTS / lesson.key)


def run_again(lesson: Lesson) -> list[str]:
    """Run a lesson into a spare folder and list what it now says differently."""
    before = recording(lesson)
    if before is None:
        return ["never run"]
    with tempfile.TemporaryDirectory() as new:
        run(lesson, Path(new))
        return differences(before, json.loads((Path(new) / "record.json").read_text("utf-8")))
