"""What `python -m lessons` does: start, check, hint, solution, run, read, reset, list (arguments: see __main__.py)."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import textwrap
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from lessons.checker.exercises import Exercise, catalogue, of_lesson
from lessons.checker.verdict import Report
from lessons.desk.progress import ROOT, Desk, LessonError, LessonInfo, advice, lessons, now, shown, table
from minimodels.errors import UserError

PASSED, NOT_YET, CANNOT = 0, 1, 2


# ---------------------------------------------------------------- numbers
def exercises_for(number: str) -> list[Exercise]:
    """The exercises that a number names: one (2.1.2), or all of a lesson (2.1)."""
    known = catalogue()
    if number in known:
        return [known[number]]
    found = of_lesson(number)
    if found:
        return found
    lesson = ".".join(number.split(".")[:2])
    if of_lesson(lesson):
        has = of_lesson(lesson)
        raise LessonError(f"there is no exercise {number}; lesson {lesson} has {has[0].number} to {has[-1].number}")
    if lesson in lessons():
        raise LessonError(f"lesson {lesson} has no exercises; it has a script: python -m lessons run {lesson}")
    with_some = dict.fromkeys(one.lesson for one in known.values())
    raise LessonError(f"there is no lesson or exercise {number}; lessons with exercises: {', '.join(with_some)}")


def lesson_for(number: str) -> LessonInfo:
    """The lesson that a number names; the number of an exercise names its lesson."""
    known = lessons()
    lesson = ".".join(number.split(".")[:2])
    if lesson not in known:
        raise LessonError(f"there is no lesson {number}; there are {', '.join(known)}")
    return known[lesson]


def one_for(number: str, desk: Desk) -> Exercise:
    """The exercise that a number names; of a lesson the first that is begun and not done, else the first not done."""
    found = exercises_for(number)
    not_done = [one for one in found if desk.state(one) != "done"]
    begun = [one for one in not_done if desk.file(one).exists()]
    return (begun or not_done or found)[0]


# ---------------------------------------------------------------- table, list, start, reset
def show_table(desk: Desk) -> int:
    print(table(desk))
    return PASSED


def list_all(asked: argparse.Namespace, desk: Desk) -> int:
    """Numbers and titles, one a line."""
    for lesson in lessons().values():
        print(f"{lesson.number:<8}{lesson.title}")
        for one in of_lesson(lesson.number):
            print(f"{one.number:<8}  {one.title}")
    return PASSED


def start(asked: argparse.Namespace, desk: Desk) -> int:
    """Copy stubs into the learner's folder; what is there stays unless it is asked for by --force."""
    kept = False
    for one in exercises_for(asked.number):
        what, backup = desk.start(one, asked.force)
        kept |= what == "kept"
        words = {"copied": "", "kept": "  (yours, left as it is)", "replaced": "  (fresh; yours is kept as "}[what]
        print(f"{one.number:<7}{shown(desk.file(one))}{words}{backup.name + ')' if backup else ''}")
    print()
    if kept:
        print(f"To begin one again, with a backup of yours:  python -m lessons start {asked.number} --force")
    print(f"Edit in any editor, then:  python -m lessons check {asked.number}")
    return PASSED


def reset(asked: argparse.Namespace, desk: Desk) -> int:
    """Fresh stubs and forgotten tries; every replaced file has a backup."""
    chosen = list(catalogue().values()) if asked.number == "all" else exercises_for(asked.number)
    for one in chosen:
        desk.records.pop(one.number, None)
        if desk.file(one).exists():
            _, backup = desk.start(one, force=True)
            print(f"{one.number:<7}{shown(desk.file(one))}  (fresh; yours is kept as {backup.name if backup else ''})")
    desk.save()
    print(f"forgotten: tries, hints and passes of {asked.number}")
    return PASSED


# ---------------------------------------------------------------- check
def check(asked: argparse.Namespace, desk: Desk) -> int:
    """Check what was asked for, or everything that was started; in the learner's folder, or in those of a class."""
    if asked.folder:
        return check_folders(asked)
    chosen = chosen_for(asked.numbers, desk)
    files = [(one, desk.file(one)) for one in chosen if desk.file(one).exists()]
    if not files:
        what = " ".join(asked.numbers) or "2.1"
        raise LessonError(f"nothing to check: begin with  python -m lessons start {what}")
    reports = run_checks(files, asked)
    known = catalogue()
    for report in reports:
        if not desk.untouched(known[report.number]):
            desk.note(known[report.number], report.status)
    if asked.json:
        print(json.dumps([folder_result(desk.folder, reports)], indent=1))
    else:
        show_reports(reports)
        absent = [one.number for one in chosen if not desk.file(one).exists()]
        print_summary(reports, absent)
        if all(report.passed for report in reports):
            print("\n" + advice(desk)[0])
    keep(desk)
    return exit_code(reports)


def keep(desk: Desk) -> None:
    """Write the records; where that fails, what was answered stands, and a note says so."""
    sys.stdout.flush()
    try:
        desk.save()
    except (UserError, OSError) as error:
        print(f"note: this is not recorded: {error}", file=sys.stderr)


def chosen_for(numbers: Sequence[str], desk: Desk) -> list[Exercise]:
    """The exercises of several numbers, each once; everything started where there are none."""
    if not numbers:
        return [one for one in catalogue().values() if desk.file(one).exists()]
    return list({one.number: one for number in numbers for one in exercises_for(number)}.values())


def run_checks(files: Sequence[tuple[Exercise, Path]], asked: argparse.Namespace) -> list[Report]:
    from lessons.checker.runner import check_files

    pairs = [(one.number, path.resolve()) for one, path in files]
    return check_files(pairs, limit=asked.time_limit, seed=asked.seed)


def check_folders(asked: argparse.Namespace) -> int:
    """Mark a class: each folder holds files named as the stubs are. Nothing is written into the folders."""
    results, everything = [], []
    for name in asked.folder:
        folder = Path(name)
        if not folder.is_dir():
            raise LessonError(f"{folder} is not a folder")
        chosen = chosen_for(asked.numbers, Desk(folder))
        there = [(one, folder / one.stub_name) for one in chosen if (folder / one.stub_name).exists()]
        done = {report.number: report for report in run_checks(there, asked)} if there else {}
        missing = "there is no file"
        reports = [done.get(one.number) or Report(one.number, one.title, "missing", missing) for one in chosen]
        results.append(folder_result(folder, reports))
        everything += reports
        if not asked.json:
            print(f"== {folder}: {sum(report.passed for report in reports)} of {len(reports)} passed\n")
            show_reports(reports, commands=False)
            print()
    if asked.json:
        print(json.dumps(results, indent=1))
    return exit_code(everything)


def folder_result(folder: Path, reports: Sequence[Report]) -> dict:
    """What --json says about one folder."""
    passed = sum(report.passed for report in reports)
    return {
        "folder": str(folder),
        "passed": passed,
        "checked": len(reports),
        "exercises": [r.as_json() for r in reports],
    }


def show_reports(reports: Sequence[Report], commands: bool = True) -> None:
    """Every report; passed and unwritten ones are single lines."""
    for at, report in enumerate(reports):
        long = report.status not in ("passed", "unwritten", "missing")
        if at and (long or reports[at - 1].status not in ("passed", "unwritten", "missing")):
            print()
        hint = f"python -m lessons hint {report.number}" if commands and long and report.status != "cannot run" else ""
        print(report.text(hint))


def print_summary(reports: Sequence[Report], absent: Sequence[str]) -> None:
    """How many passed, and what was not looked at."""
    if len(reports) > 1 or absent:
        print(f"\n{sum(report.passed for report in reports)} of {len(reports)} passed")
    if absent:
        print(f"not started: {', '.join(absent)}")


def exit_code(reports: Sequence[Report]) -> int:
    """0 all passed, 1 not yet, 2 when something could not be checked at all."""
    if any(report.status == "cannot run" for report in reports):
        return CANNOT
    return PASSED if all(report.passed for report in reports) else NOT_YET


# ---------------------------------------------------------------- hint, solution
def hint(asked: argparse.Namespace, desk: Desk) -> int:
    """The next hint; after the last one all of them."""
    one = one_for(asked.number, desk)
    record = desk.record(one)
    again = record.hints >= len(one.hints) or asked.all
    record.hints = len(one.hints) if asked.all else min(record.hints + 1, len(one.hints))
    chosen = range(len(one.hints)) if again else [record.hints - 1]
    print(f"{one.number}  {one.title}")
    for at in chosen:
        symptom, text = one.hints[at]
        print(f"\n  hint {at + 1} of {len(one.hints)}: {symptom}")
        print(textwrap.fill(text, 90, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False))
    if record.hints == len(one.hints):
        print(f"\nThat was the last hint. After a try of yours:  python -m lessons solution {one.number}")
    else:
        print(f"\nThe next one:  python -m lessons hint {one.number}")
    keep(desk)
    return PASSED


def solution(asked: argparse.Namespace, desk: Desk) -> int:
    """Our code, after a first try that was checked."""
    one = one_for(asked.number, desk)
    if len(exercises_for(asked.number)) > 1:
        tried = [
            other for other in exercises_for(asked.number) if desk.record(other).tries and not desk.record(other).passed
        ]
        one = tried[0] if tried else one
    record = desk.record(one)
    if not record.tries and not asked.anyway:
        print(f"{one.number}  {one.title}: try it first, then  python -m lessons check {one.number}")
        print(f"To see our solution without a try:  python -m lessons solution {one.number} --anyway")
        return NOT_YET
    record.solution = True
    print(f"# {one.number}  {one.title}: one way to write it\n")
    print(one.solution)
    keep(desk)
    return PASSED


# ---------------------------------------------------------------- run, read
def run(asked: argparse.Namespace, desk: Desk) -> int:
    """Run a lesson's script as it is, from the folder that its paths start from."""
    lesson = lesson_for(asked.number)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
    sys.stdout.flush()
    code = subprocess.run([sys.executable, str(lesson.script), *asked.arguments], cwd=ROOT, env=environment).returncode
    if code == 0:
        desk.runs[lesson.number] = now()
        keep(desk)
    return NOT_YET if code else PASSED


def read(asked: argparse.Namespace, desk: Desk) -> int:
    """Open the built page of a lesson in the browser; say how to build it where there is none."""
    lesson = lesson_for(asked.number)
    page = find_page(lesson)
    if page is None:
        print(f"The page of lesson {lesson.number} is not built here.")
        print("Build the book and read it in a browser:  make book")
        print("or, without make:  python -m mkdocs serve")
        print(f"The same text stands in the script:  {shown(lesson.script)}")
        return CANNOT
    print(f"{lesson.number}  {lesson.title}: {page}")
    if not asked.print and sys.stdout.isatty():
        webbrowser.open(page.as_uri())
    return PASSED


def find_page(lesson: LessonInfo) -> Path | None:
    """Where the built site has the page, in either of MkDocs' layouts."""
    site = ROOT / "site" / "lessons"
    return next(
        (page for page in (site / f"{lesson.key}.html", site / lesson.key / "index.html") if page.is_file()), None
    )
