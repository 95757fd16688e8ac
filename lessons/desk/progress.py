"""The learner's folder: stubs that were put there, what was tried and passed, and the table that says so.

Needs only the standard library: the table comes up at once.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from lessons.checker.exercises import Exercise, catalogue, of_lesson, order
from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.errors.untrusted import Settings, read_json

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "LESSONS_FOLDER"
RECORDS = "progress.json"
NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){1,2}")  # of a lesson or an exercise


class LessonError(Exception):
    """Something a learner can put right; the message says what it is and what to do."""


@dataclass
class Record:
    """What happened with one exercise: checks of real tries, when it was first passed, hints seen, solution seen."""

    tries: int = 0
    passed: str = ""
    hints: int = 0
    solution: bool = False


@dataclass
class Desk:
    """A learner's folder with its records. `notice` is a sentence about records that could not be read."""

    folder: Path
    records: dict[str, Record] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    notice: str = ""

    @classmethod
    def open(cls, folder: Path | None = None) -> Desk:
        """The learner's folder, made when something is written to it. Records that are no JSON are put aside."""
        desk = cls(folder or find_folder())
        path = desk.folder / RECORDS
        if not path.exists():
            return desk
        try:
            desk.records, desk.runs = read_records(path)
        except UserError:
            aside = free_name(path.with_name(f"{RECORDS}.unreadable"))
            path.replace(aside)
            desk.notice = f"{path} could not be read; it is kept as {aside.name}, and a new one begins"
        return desk

    def record(self, exercise: Exercise) -> Record:
        return self.records.setdefault(exercise.number, Record())

    def file(self, exercise: Exercise) -> Path:
        """Where the learner's own version lies."""
        return self.folder / exercise.stub_name

    def save(self) -> None:
        """Write the records whole or not at all."""
        content = {
            "exercises": {number: asdict(self.records[number]) for number in sorted(self.records, key=order)},
            "lessons": self.runs,
        }
        self.make()
        write_whole(self.folder / RECORDS, json.dumps(content, indent=1) + "\n")

    def make(self) -> None:
        """Make the folder, and keep it out of version control wherever it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            write_whole(ignore, "*\n")

    def start(self, exercise: Exercise, force: bool = False) -> tuple[str, Path | None]:
        """Write the stub. Returns "copied", "kept" (one was there) or "replaced", with the backup of the old one."""
        self.make()
        mine = self.file(exercise)
        if not mine.exists():
            write_whole(mine, exercise.stub)
            return "copied", None
        if not force:
            return "kept", None
        backup = free_name(mine.with_name(f"{mine.name}.backup"))
        with write_aside(mine) as aside:
            aside.write_text(exercise.stub, encoding="utf-8", newline="\n")
            mine.replace(backup)  # only now: on a full disk it stays where it is
        return "replaced", backup

    def untouched(self, exercise: Exercise) -> bool:
        """Whether the learner's file is still the stub, with or without the bug that it is there to find."""
        try:
            return self.file(exercise).read_bytes().split() == exercise.stub.encode().split()
        except OSError:
            return False

    def note(self, exercise: Exercise, status: str) -> None:
        """Count a check. The stub as it was made, and a check that could not run, are no try."""
        if status in ("unwritten", "cannot run", "missing"):
            return
        record = self.record(exercise)
        record.tries += 1
        if status == "passed" and not record.passed:
            record.passed = now()

    def state(self, exercise: Exercise) -> str:
        """done, tried, started, or nothing."""
        record = self.records.get(exercise.number, Record())
        if record.passed:
            return "done"
        return "tried" if record.tries else "started" if self.file(exercise).exists() else ""

    def next_exercise(self) -> Exercise | None:
        """The first one that is not done."""
        return next((one for one in catalogue().values() if self.state(one) != "done"), None)


def read_records(path: Path) -> tuple[dict[str, Record], dict[str, str]]:
    """What a file of records says of exercises and of lessons.

    Raises:
        UserError: it is no such file: cut, of other types, numbers that no exercise has.
    """
    content = Settings(read_json(path), str(path))
    if "exercises" not in content:
        raise UserError(f"{path} has no exercises")
    exercises, runs = content.inside("exercises"), content.inside("lessons")
    for number in (*exercises, *runs):
        if not NUMBER.fullmatch(number):
            raise UserError(f"{path} names {number[:20]!r}, which is no lesson or exercise")
    records = {}
    for number in exercises:
        told = exercises.inside(number)
        records[number] = Record(
            tries=told.whole("tries", 0, least=0),
            passed=told.text("passed", ""),
            hints=told.whole("hints", 0, least=0),
            solution=told.truth("solution", False),
        )
    return records, {number: runs.text(number) for number in runs}


def write_whole(path: Path, text: str) -> None:
    """A text file whole or not at all: what a full disk has cut would be taken for the learner's own."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def find_folder() -> Path:
    """my/ of the clone this package lies in; for an installed package the nearest my/ with records, else ./my."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser().resolve()
    if (ROOT / "pyproject.toml").is_file() and (ROOT / "minimodels").is_dir():
        return ROOT / "my"
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "my" / RECORDS).is_file():
            return folder / "my"
    return here / "my"


def free_name(path: Path) -> Path:
    """The path itself, or with the first free number behind it."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def now() -> str:
    return datetime.now().isoformat(timespec="seconds")


def shown(path: Path) -> str:
    """A path as short as it can be told: from the current folder where it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


# ---------------------------------------------------------------- lessons
@dataclass(frozen=True)
class LessonInfo:
    """A lesson: number, title, reading minutes (0 while it does not say them), script and place in the book."""

    number: str
    title: str
    minutes: int
    script: Path
    key: str


def lessons() -> dict[str, LessonInfo]:
    """All lessons by number; their titles are those of the book's contents."""
    from lessons.book.text import find_lessons

    found = {}
    for lesson in find_lessons():
        title, minutes = lesson.about.get("nav", lesson.title), lesson.about["minutes"]
        about = (title, int(minutes) if minutes.isdigit() else 0, lesson.path, lesson.key)
        found[lesson.number] = LessonInfo(lesson.number, *about)
    return {number: found[number] for number in sorted(found, key=order)}


# ---------------------------------------------------------------- the table
WIDTHS = (9, 50, 9, 6, 9, 11)


def table(desk: Desk) -> str:
    """Lessons and exercises with what is done, tries, minutes and difficulty."""
    every = catalogue().values()
    done = [one for one in every if desk.state(one) == "done"]
    minutes = sum(one.minutes for one in done), sum(one.minutes for one in every)
    lines = [
        f"Pixels & Prompts: {len(done)} of {len(every)} exercises done, {minutes[0]} of {minutes[1]} minutes",
        f"your folder: {shown(desk.folder)}",
        "",
        row("", "", "done", "tries", "minutes", "difficulty"),
    ]
    for lesson in lessons().values():
        own = of_lesson(lesson.number)
        count = f"{sum(desk.state(one) == 'done' for one in own)} of {len(own)}" if own else ""
        reading = str(lesson.minutes) if lesson.minutes else ""
        lines += ["", row(lesson.number, lesson.title, count, "", reading, "")]
        for one in own:
            tries = desk.records.get(one.number, Record()).tries
            stars = "*" * one.difficulty
            lines.append(row(f" {one.number}", one.title, desk.state(one), str(tries or ""), str(one.minutes), stars))
    return "\n".join([*lines, "", *advice(desk)])


def row(*cells: str) -> str:
    """One line of the table; numbers stand to the right."""
    number, title, done, tries, minutes, difficulty = cells
    if len(title) > WIDTHS[1] - 2:
        title = title[: WIDTHS[1] - 5] + "..."
    left = f"{number:<{WIDTHS[0]}}{title:<{WIDTHS[1]}}{done:<{WIDTHS[2]}}"
    return f"{left}{tries:>{WIDTHS[3]}}{minutes:>{WIDTHS[4]}}  {difficulty}".rstrip()


def advice(desk: Desk) -> list[str]:
    """What to type next."""
    one = desk.next_exercise()
    if one is None:
        return ["Everything is done. python -m lessons solution 2.1.2 shows how we wrote one of them."]
    if desk.file(one).exists():
        return [f"next: edit {shown(desk.file(one))}, then   python -m lessons check {one.number}"]
    return [f"next: python -m lessons start {one.number}"]
