"""Lessons as Markdown pages: front matter, cells with their recorded outputs, the contents of each part."""

import json
import re
import struct
from pathlib import Path

from lessons.book import text as book_text
from lessons.book.exercises import directives, exercises
from lessons.book.recording import stale
from lessons.book.text import (
    OUTPUTS,
    PARTS,
    ROOT,
    BookError,
    Cell,
    Lesson,
    expand,
    find_lessons,
    link,
    usable_recording,
)
from lessons.checker.exercises import of_lesson

PAGES, FILES = ROOT / "docs" / "lessons", ROOT / "docs" / "files"


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
