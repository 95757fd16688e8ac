"""The book: lesson scripts become pages with their recorded outputs.

    python -m lessons.book                     run the lessons that changed, write all pages
    python -m lessons.book 2.3 3.2             the same for these lessons only
    python -m lessons.book --check             exit 1 when a recorded output is out of date (runs nothing)
    python -m lessons.book --again 2.3         run it again and tell whether it still says the same
    python -m lessons.book --notebooks DIR     every lesson as a Jupyter notebook with its outputs

A lesson is a script in percent format, `lessons/<part>/NN_name.py`. What it printed and drew lies in
docs/outputs/<part>/<NN_name>/ (in git), with a fingerprint of each project file it used; the pages in docs/lessons/ and
docs/files/ are written from both (not in git). mkdocs.yml names this file as a hook, so `python -m mkdocs build` writes
the pages itself. Building needs no torch; running a lesson does.
"""

import argparse
import importlib.util
import json
import logging
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from lessons import book_notebook, book_reports, book_text
from lessons.book_exercises import directives, exercises
from lessons.book_run import differences
from lessons.book_text import (
    OUTPUTS,
    PARTS,
    ROOT,
    BookError,
    Cell,
    Lesson,
    expand,
    find_lessons,
    fingerprint,
    link,
    recording,
    usable_recording,
)
from lessons.exercises import of_lesson

PAGES, FILES = ROOT / "docs" / "lessons", ROOT / "docs" / "files"
log = logging.getLogger("mkdocs.plugins.book")


# ---------------------------------------------------------------- recordings
def stale(lesson: Lesson) -> list[str]:
    """Why the recorded outputs cannot be trusted; empty when they can."""
    record = recording(lesson)
    if "broken" in lesson.about:
        return [lesson.about["broken"]]
    if record is None:
        return ["never run"]
    reasons = [name for name, known in record["used"].items() if not _same(ROOT / name, known)]
    files = [output["file"] for cell in record["cells"] for output in cell if "file" in output]
    reasons += [f"{name} is missing" for name in files if not (OUTPUTS / lesson.key / name).is_file()]
    reasons += [
        f"{{={text}}} was never computed"
        for cell in lesson.cells()
        for text in cell.values
        if text not in record["values"]
    ]
    return reasons


def _same(file: Path, known: str) -> bool:
    return file.is_file() and fingerprint(file) == known


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
    command = [sys.executable, "-m", "lessons.book_run", str(lesson.path), str(out)]
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


# ---------------------------------------------------------------- pages
def lesson_page(lesson: Lesson) -> str:
    """The Markdown of a lesson: front matter, facts, cells with their recorded outputs, and where to go on."""
    if "broken" in lesson.about:
        raise BookError(lesson.about["broken"])
    here, cells, done = f"lessons/{lesson.key}.md", list(lesson.cells()), usable_recording(lesson)
    out, outputs = [], iter(done["cells"])
    for cell in cells:
        if cell.kind == "text":
            _check_headings(cell, lesson)
            missing = [text for text in cell.values if text not in done["values"]]
            values = done["values"] | dict.fromkeys(missing, "?")
            out.append(expand(cell.body, here, values, directives(lesson.number)))
        else:
            out += [_code_block(cell), *(_output_block(output, cell, lesson) for output in next(outputs, []))]
    if not any(re.search(r"^ *::exercise", cell.body, re.M) for cell in cells) and of_lesson(lesson.number):
        out += ["## Exercises", exercises(lesson.number)]
    body = "\n\n".join(part for part in out if part)
    return _opening(lesson, here) + body + "\n\n" + _closing(lesson, done) + "\n"


def _opening(lesson: Lesson, here: str) -> str:
    """Front matter, title, facts and lead."""
    title = f"{lesson.number} {lesson.about.get('nav', lesson.title)}"
    lead = expand(lesson.lead, here) if lesson.lead else ""
    head = [
        "---",
        f"title: {json.dumps(title)}",
        f"description: {json.dumps(' '.join(lesson.lead.split()) or lesson.title)}",
    ]
    head += [f"lesson: {json.dumps(lesson.number)}", f"minutes: {lesson.about['minutes']}", "---", ""]
    head += [f'# <span class="number">{lesson.number}</span> {lesson.title}', "", _facts(lesson, here), ""]
    head += [f'<div class="lead" markdown="1">\n\n{lead}\n\n</div>', ""] if lead else []
    return "\n".join(head) + "\n"


def _facts(lesson: Lesson, here: str) -> str:
    """The line under the title: time, what to know first, paper, source file."""
    needs = [link(number, here) for number in re.findall(r"\d\.\d+", lesson.about.get("needs", ""))]
    facts = [f"{lesson.about['minutes']} minutes"]
    facts += ["after " + ", ".join(needs)] if needs else []
    facts += [expand(lesson.about["paper"], here)] if "paper" in lesson.about else []
    facts += [f"`{lesson.about['code']}`"] if "code" in lesson.about else []
    return (
        '<div class="facts" markdown="1" data-search-exclude="">\n\n'
        + "\n".join("- " + fact for fact in facts)
        + "\n\n</div>"
    )


def _closing(lesson: Lesson, done: dict) -> str:
    up = "../" * 2
    made = ", ".join(f"{name} {number}" for name, number in done["with"].items() if number)
    recorded = f"The outputs here were recorded with {made}; the last digits may differ elsewhere." if made else ""
    return (
        '<div class="closing" markdown="1">\n\n'
        f"The whole lesson is one script: `python {lesson.script}` runs it, any debugger steps through it. "
        f'[Download it]({up}files/{lesson.key}.py){{ download="{lesson.path.name}" }}. '
        f"{recorded}\n\n</div>"
    )


def _check_headings(cell: Cell, lesson: Lesson) -> None:
    for line in re.sub(r"^```.*?^```", "", cell.body, flags=re.M | re.S).splitlines():
        if line.startswith("# "):
            raise BookError(
                f"{lesson.script}: '{line}' competes with the title; use ## (the title is the docstring's first line)"
            )


def _code_block(cell: Cell) -> str:
    if "hide-input" in cell.options or not cell.body.strip():
        return ""
    block = f'``` {{.python .cell linenums="{cell.line}"}}\n{cell.body}\n```'
    if "fold" not in cell.options:
        return block
    inner = "\n".join("    " + line if line else "" for line in block.splitlines())
    return f'??? abstract "{cell.options["fold"] or "The code of this cell"}"\n\n{inner}'


def _output_block(output: dict, cell: Cell, lesson: Lesson) -> str:
    if "markdown" in output:
        return f'<div class="out-table" markdown="1">\n\n{output["markdown"]}\n\n</div>'
    if "text" in output:
        return f"``` {{.text .out}}\n{output['text'].rstrip()}\n```"
    file = OUTPUTS / lesson.key / output["file"]
    if not file.is_file():
        return ""  # `stale` says so
    caption = cell.options.get("caption", "")
    caption = f'\n<figcaption markdown="span">{caption}</figcaption>\n' if caption else ""
    if file.suffix == ".svg":
        return f'<figure class="fig drawing" markdown="1">\n{file.read_text("utf-8").strip()}\n{caption}</figure>'
    if not cell.options.get("alt"):
        raise BookError(
            f'{lesson.script}, line {cell.line}: this cell draws a figure; say what it shows: # %% alt="..."'
        )
    width, height = (round(side / 1.5) for side in struct.unpack(">II", file.read_bytes()[16:24]))
    place = f"../../outputs/{lesson.key}/{output['file']}"
    image = f"![{cell.options['alt']}]({place}){{ width={width} height={height} loading=lazy }}"
    return f'<figure class="fig" markdown="1">\n\n{image}\n{caption}\n</figure>'


def part_page(part: str, lessons: list[Lesson]) -> str:
    """The first page of a part: what it is about and its lessons."""
    title, about = PARTS[part]
    rows = []
    for lesson in lessons:
        rows += [
            f"[{lesson.number} {lesson.title}]({lesson.path.stem}.md)",
            f":   {_first_sentence(lesson)} *{lesson.about['minutes']} minutes.*",
            "",
        ]
    head = ["---", f"title: {json.dumps(part[0] + ' ' + title)}", "---", ""]
    head += [f'# <span class="number">{part[0]}</span> {title}', "", about, ""]
    return "\n".join(head + rows)


def contents(here: str) -> str:
    """All lessons by part, for the front page; stands for `::lessons`."""
    up, out = "../" * here.count("/"), []
    for part, lessons in by_part(find_lessons()).items():
        out += [f'<section class="part" markdown="1">\n\n### {part[0]} {PARTS[part][0]}\n\n{PARTS[part][1]}\n']
        out += [
            f"- [{lesson.number} {lesson.title}]({up}lessons/{lesson.key}.md)"
            for lesson in lessons
            if "broken" not in lesson.about
        ]
        out += ["\n</section>"]
    return '<div class="parts" markdown="1">\n\n' + "\n".join(out) + "\n\n</div>"


def _first_sentence(lesson: Lesson) -> str:
    return re.split(r"(?<=[.?!])\s", " ".join(expand(lesson.lead, f"lessons/{lesson.key}.md").split()))[0]


def by_part(lessons: list[Lesson]) -> dict[str, list[Lesson]]:
    parts: dict[str, list[Lesson]] = {}
    for lesson in lessons:
        parts.setdefault(lesson.part, []).append(lesson)
    return parts


def write_pages() -> tuple[dict[str, list[str]], list[str]]:
    """Write every page that can be made; gives the pages of each part for the navigation, and what went wrong."""
    book_text._lessons.cache_clear()
    pages, troubles, wanted = {}, [], set()
    for part, lessons in by_part(find_lessons()).items():
        made = []
        for lesson in lessons:
            try:
                text = lesson_page(lesson)
            except BookError as error:
                troubles.append(str(error))
                continue
            wanted |= {
                _write(PAGES / f"{lesson.key}.md", text),
                _write(FILES / f"{lesson.key}.py", lesson.path.read_text("utf-8")),
            }
            made.append(lesson)
            if reasons := stale(lesson):
                why = ", ".join(reasons[:4])
                troubles.append(
                    f"{lesson.script} is out of date ({why}); record it: python -m lessons.book {lesson.number}"
                )
        if made:
            wanted.add(_write(PAGES / part / "index.md", part_page(part, made)))
            pages[part] = [f"lessons/{part}/index.md", *(f"lessons/{lesson.key}.md" for lesson in made)]
    for old in [*PAGES.rglob("*.md"), *FILES.rglob("*.py")]:
        if old not in wanted:
            old.unlink()
    return pages, troubles


def _write(path: Path, text: str) -> Path:
    """Write only what changed, so that `mkdocs serve` does not see its own pages as news."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
    return path


# ---------------------------------------------------------------- MkDocs calls these (mkdocs.yml, hooks)
def on_config(config):
    """Write the pages and lay out the navigation; `mkdocs serve` first runs changed lessons where torch is there."""
    if "serve" in sys.argv and importlib.util.find_spec("torch"):
        for lesson in find_lessons():
            if reasons := stale(lesson):
                log.info(f"running {lesson.script} ({', '.join(reasons[:3])})")
                try:
                    record(lesson)
                except BookError as error:
                    log.warning(str(error))
    pages, troubles = write_pages()
    for trouble in troubles:
        log.warning(trouble)
    config["nav"] = book_reports.navigation(pages, {part: f"{part[0]} {PARTS[part][0]}" for part in pages})
    return config


def on_page_markdown(markdown, page, config, files):
    """Expand the directives of the general pages (lessons have theirs written out), append the glossary."""
    here = page.file.src_uri
    if not here.startswith("lessons/"):
        more = {"lessons": lambda rest, body: contents(here), **book_reports.directives()}
        try:
            markdown = expand(markdown, here, directives=more)
        except BookError as error:
            log.warning(str(error))
    return markdown if here == "glossary.md" else markdown + "\n\n" + book_reports.abbreviations()


def on_page_content(html, page, config, files):
    return book_reports.first_mentions(html)


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
            print(f"wrote {book_notebook.write(lesson, asked.notebooks)}")
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
