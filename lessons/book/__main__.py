"""The book: lesson scripts become pages with their recorded outputs.

    python -m lessons.book                     run the lessons that changed, write all pages
    python -m lessons.book 2.3 3.2             the same for these lessons only
    python -m lessons.book --check             exit 1 when a recorded output is out of date (runs nothing)
    python -m lessons.book --again 2.3         run it again and tell whether it still says the same
    python -m lessons.book --notebooks DIR     every lesson as a Jupyter notebook with its outputs

A lesson is a script in percent format, `lessons/<part>/NN_name.py`. What it printed and drew lies in
docs/outputs/<part>/<NN_name>/ (in git), with a hash of each definition of the project that it executed and of each
file it read; the pages in docs/lessons/ and docs/files/ are written from both (not in git). mkdocs.yml names hook.py
beside this file, so `python -m mkdocs build` writes the pages itself. Building needs no torch; running a lesson does.
"""

import argparse
import sys
from pathlib import Path

from lessons.book import notebook
from lessons.book.pages import write_pages
from lessons.book.recording import record, run_again, stale
from lessons.book.text import (
    BookError,
    Lesson,
    find_lessons,
)


# ---------------------------------------------------------------- the command line
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lessons.book", description="Lesson scripts become pages with their recorded outputs."
    )
    parser.add_argument("lessons", nargs="*", metavar="NUMBER", help="lessons such as 2.3; all when none is named")
    parser.add_argument(
        "--check", action="store_true", help="exit 1 when a recorded output is out of date; runs nothing"
    )
    parser.add_argument(
        "--again", action="store_true", help="run the lessons again and compare with what is recorded; changes nothing"
    )
    parser.add_argument("--force", action="store_true", help="record even what is up to date")
    parser.add_argument("--notebooks", metavar="DIR", type=Path, help="write the lessons as Jupyter notebooks into DIR")
    asked = parser.parse_args(arguments)
    lessons = [lesson for lesson in find_lessons() if not asked.lessons or lesson.number in asked.lessons]
    unknown = set(asked.lessons) - {lesson.number for lesson in lessons}
    if unknown:
        known = ", ".join(lesson.number for lesson in find_lessons())
        print(f"there is no lesson {', '.join(sorted(unknown))}; known: {known}", file=sys.stderr)
        return 2
    try:
        return _do(asked, lessons)
    except BookError as error:
        print(error, file=sys.stderr)
        return 1


def _do(asked: argparse.Namespace, lessons: list[Lesson]) -> int:
    if asked.notebooks:
        for lesson in lessons:
            print(f"wrote {notebook.write(lesson, asked.notebooks)}")
        return 0
    bad = 0
    for lesson in lessons:
        reasons = run_again(lesson) if asked.again else stale(lesson)
        if asked.check or asked.again:
            bad += bool(reasons)
            print(f"{lesson.script}: " + ("; ".join(reasons) if reasons else "as recorded"))
        elif reasons or asked.force:
            print(f"running {lesson.script} ({', '.join(reasons) or 'asked for'})", flush=True)
            record(lesson)
    if not (asked.check or asked.again):
        pages, troubles = write_pages()
        troubles = [text for text in troubles if not asked.lessons or any(lesson.script in text for lesson in lessons)]
        print(
            "\n".join(troubles)
            or f"{sum(map(len, pages.values()))} pages are written; look at them: python -m mkdocs serve"
        )
        bad += len(troubles)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
