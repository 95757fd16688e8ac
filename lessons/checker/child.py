"""The process in which learners' files run: python -m lessons.checker.child JOB RESULT TRACE (started by runner.py).

Reads a job as JSON, writes one line of JSON to RESULT when an exercise is about to start and one when it is done. When
the time is over, faulthandler writes where the file was to TRACE and ends the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

from lessons.checker.attempts import cases
from lessons.checker.errors import Trouble, explain
from lessons.checker.exercises import Exercise, catalogue
from lessons.checker.judge import Verdict, judge
from lessons.checker.load import forbidden_use, load_check, load_file
from lessons.checker.task import Task, plain_call
from lessons.checker.verdict import Report

KEPT_OUTPUT = 2000
EXTRA_MEMORY = 6 * 2**30


class Output(io.TextIOBase):
    """Keeps the first characters that a learner's file prints and forgets the rest."""

    def __init__(self) -> None:
        self.text, self.lost = "", 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = KEPT_OUTPUT - len(self.text)
        self.text += text[:room]
        self.lost += len(text[room:]) if room < len(text) else 0
        return len(text)

    def shown(self) -> str:
        return self.text + (f"\n... and {self.lost} more characters" if self.lost else "")


def check(exercise: Exercise, file: Path, seed: int = 0) -> Report:
    """Load a learner's file and judge each of its functions; for use in a process that may be ended."""
    started, output = time.perf_counter(), Output()
    report = Report(exercise.number, exercise.title, "failed", file=str(file))
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        _check(exercise, file, seed, report)
    report.printed = output.shown()
    report.seconds = round(time.perf_counter() - started, 2)
    return report


def _check(exercise: Exercise, file: Path, seed: int, report: Report) -> None:
    import torch

    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.manual_seed(seed)
    try:
        module = load_file(file)
    except UnicodeDecodeError:
        report.headline = "your file is not plain text in UTF-8; save it so in your editor"
        return
    except (KeyboardInterrupt, Exception, SystemExit) as error:
        tell_trouble(report, explain(error, str(file)))
        return
    tasks = load_check(exercise)
    verdicts = [judge_part(task, module, seed, str(file)) for task in tasks]
    report.tasks = [(task.name, verdict.status) for task, verdict in zip(tasks, verdicts)]
    tell(report, tasks, verdicts)
    if report.status == "passed":
        found = forbidden_use(file.read_text(encoding="utf-8-sig"), {name for task in tasks for name in task.forbidden})
        if found:
            report.status, report.line, report.headline = "failed", found[0], f"the numbers are right, but {found[1]}"


def judge_part(task: Task, module: ModuleType, seed: int, file: str) -> Verdict:
    """One function of the file, if it is there."""
    handed_in = getattr(module, task.name, None)
    if not hasattr(module, task.name):
        return Verdict("failed", f"there is no {task.name} in your file; the check calls it by this name")
    if task.call is plain_call and not callable(handed_in):
        return Verdict("failed", f"{task.name} is no function any more: something else was given that name")
    try:
        return judge(task, handed_in, seed, file)
    except Exception as error:  # an answer that no comparison foresaw, such as a sparse tensor or a class of one's own
        return Verdict("failed", f"what {task.name} gave back cannot be compared ({type(error).__name__}: {error})")


def tell_trouble(report: Report, trouble: Trouble) -> None:
    """A file that does not even load."""
    report.headline, report.line = trouble.text, trouble.line
    if trouble.code:
        report.details.append((f"line {trouble.line}", trouble.code))
    report.details.append(("Python says", trouble.python))


def tell(report: Report, tasks: list[Task], verdicts: list[Verdict]) -> None:
    """The first function that is not right speaks for the exercise."""
    several = len(tasks) > 1
    prefixes = [f"{task.name}: " if several else "" for task in tasks]
    by_status: dict[str, list[int]] = {}
    for at, verdict in enumerate(verdicts):
        by_status.setdefault(verdict.status, []).append(at)
    if by_status.keys() == {"passed"}:
        report.status = "passed"
        report.headline = "; ".join(prefix + verdict.headline for prefix, verdict in zip(prefixes, verdicts))
        return
    if by_status.keys() == {"unwritten"}:
        report.status = "unwritten"
        return
    at = (by_status.get("failed") or by_status["unwritten"])[0]
    verdict, right = verdicts[at], [tasks[i].name for i in by_status.get("passed", [])]
    report.status, report.headline, report.line = "failed", prefixes[at] + verdict.headline, verdict.line
    report.details = verdict.details + ([("right already", ", ".join(right))] if right else [])
    report.diagnosis, report.fix = verdict.diagnosis, verdict.fix


def limit_memory() -> None:
    """A list that grows without end stops this process and not the machine (where the system can do that)."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[5])
        limit = pages * resource.getpagesize() + EXTRA_MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (ImportError, OSError, ValueError, IndexError):
        return


def main(job_file: str, result_file: str, trace_file: str) -> int:
    """Run a job; each line is on the disk before the next learner's file can end the process."""
    import torch

    torch.set_num_threads(1)
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    known = catalogue()
    with open(result_file, "a", encoding="utf-8") as results, open(trace_file, "w", encoding="utf-8") as trace:

        def write(**values) -> None:
            results.write(json.dumps(values) + "\n")
            results.flush()

        for number, file in job["files"]:
            exercise = known[number]
            try:
                for task in load_check(exercise):
                    cases(task, job["seed"])
            except ImportError as error:
                text = f"this check compares with a library that is not here: {error}"
                write(report=Report(number, exercise.title, "cannot run", text, file=file).as_json())
                continue
            write(started=number)
            limit_memory()
            faulthandler.dump_traceback_later(job["limit"], exit=True, file=trace)
            report = check(exercise, Path(file), job["seed"])
            faulthandler.cancel_dump_traceback_later()
            write(report=report.as_json())
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # at once, whatever threads a learner's file may have left running
