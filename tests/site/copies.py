"""Copies of a project to change files in, and what the builder of the book says of them then."""

from pathlib import Path

import pytest

from lessons.book import recording, text
from lessons.book.text import find_lessons


def look_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The builder reads this folder in place of the repository."""
    for module in (recording, text):
        monkeypatch.setattr(module, "ROOT", folder)
        monkeypatch.setattr(module, "OUTPUTS", folder / "docs" / "outputs")
    monkeypatch.setattr(text.find_lessons, "__defaults__", (folder / "lessons",))


def why_stale(folder: Path) -> dict[str, list[str]]:
    return {lesson.key: why for lesson in find_lessons(folder / "lessons") if (why := recording.stale(lesson))}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, "utf-8")


def change(folder: Path, file: str, old: str, new: str) -> None:
    """Write a changed copy of a file; `old` stands there once."""
    before = (folder / file).read_text("utf-8")
    assert before.count(old) == 1, f"{old!r} stands {before.count(old)} times in {file}"
    (folder / file).unlink()  # the copy may be a link to the original
    (folder / file).write_text(before.replace(old, new), "utf-8")
