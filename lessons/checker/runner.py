"""Start the process that runs learners' files, wait for it with a time limit, and say what happened when it ends early.

Imports no torch: the command line stays quick.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lessons.checker.errors import line_of
from lessons.checker.exercises import catalogue
from lessons.checker.verdict import Report

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT = 10.0
START_LIMIT = 180.0


@dataclass(frozen=True)
class Ending:
    """How one process ended: the reports it finished, which exercise it had begun, and why it stopped."""

    reports: list[Report]
    begun: str
    returncode: int
    trace: str
    errors: str
    waited_out: bool


def check_files(files: Sequence[tuple[str, Path]], *, limit: float = TIME_LIMIT, seed: int = 0) -> list[Report]:
    """Check (number, file) pairs in one process; after a file that ends or blocks it, the rest goes on in a new one."""
    known, reports, waiting = catalogue(), [], list(files)
    while waiting:
        ending = run_process(waiting, limit, seed)
        reports += ending.reports
        waiting = waiting[len(ending.reports) :]
        if not waiting:
            break
        number, file = waiting.pop(0)
        reports.append(early_end(Report(number, known[number].title, "crashed", file=str(file)), ending, limit))
    return reports


def early_end(report: Report, ending: Ending, limit: float) -> Report:
    """Words for a process that did not finish an exercise."""
    if ending.begun != report.number:
        report.status, report.headline = "cannot run", "the check itself could not start"
        report.details = [("Python says", ending.errors.strip()[-600:] or f"exit code {ending.returncode}")]
    elif ending.trace or ending.waited_out:
        report.status, report.headline = (
            "timeout",
            f"your file was still running after {limit:g} seconds and was stopped",
        )
        line = line_in_trace(ending.trace, report.file)
        if line:
            report.line = line
            report.details = [(f"line {line}", line_of(report.file, line))]
        report.diagnosis = "A loop that never ends, or far too much work for inputs this small."
    elif ending.returncode < 0:
        report.headline = f"your file brought Python down ({signal_name(-ending.returncode)})"
    else:
        report.headline = f"your file ended Python itself (exit code {ending.returncode}): leave out os._exit"
    return report


def run_process(files: Sequence[tuple[str, Path]], limit: float, seed: int) -> Ending:
    """One process for as many exercises as it survives."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        job, result, trace = (Path(folder) / name for name in ("job.json", "result.jsonl", "trace.txt"))
        content = {"files": [(number, str(file)) for number, file in files], "limit": limit, "seed": seed}
        job.write_text(json.dumps(content), encoding="utf-8")
        arguments = ["-P", "-m", "lessons.checker.child", str(job), str(result), str(trace)]
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=os.name == "posix",
        )
        outputs = [Drain(process.stdout), Drain(process.stderr)]
        waited_out = wait(process, START_LIMIT + (limit + 5) * len(files))
        for output in outputs:
            output.join(timeout=2)
        lines = [json.loads(line) for line in read(result).splitlines() if line.endswith("}")]
        reports = [Report.from_json(line["report"]) for line in lines if "report" in line]
        begun = next((line["started"] for line in reversed(lines) if "started" in line), "")
        return Ending(reports, begun, process.returncode, read(trace), outputs[1].text, waited_out)


def wait(process: subprocess.Popen, seconds: float) -> bool:
    """Wait for the process, then end what is left of it (also after Ctrl-C); True when the time was over."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        end(process)
    return False


class Drain(threading.Thread):
    """Reads a pipe to its end and keeps the last characters: a flood of prints fills neither pipe nor memory."""

    def __init__(self, pipe) -> None:
        super().__init__(daemon=True)
        self.pipe, self.text = pipe, ""
        self.start()

    def run(self) -> None:
        while chunk := self.pipe.read1(65536):
            self.text = (self.text + chunk.decode("utf-8", "replace"))[-4000:]
        self.pipe.close()


def end(process: subprocess.Popen) -> None:
    """Stop the process and what it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


def environment() -> dict[str, str]:
    """The caller's environment; the package that runs here is the one that runs there, in UTF-8, on one thread."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    extra = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    return {**os.environ, **extra, "HF_HUB_OFFLINE": "1"}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def line_in_trace(trace: str, file: str) -> int | None:
    """The innermost line of the learner's file in faulthandler's text."""
    written = file.encode("ascii", "backslashreplace").decode()  # as faulthandler writes it
    match = re.search(rf'File "{re.escape(written)}", line (\d+)', trace)
    return int(match[1]) if match else None


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
