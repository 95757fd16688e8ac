"""Lessons as Jupyter notebooks (nbformat 4.5) with their recorded outputs, for those who want them.

    python -m lessons.book --notebooks notebooks

A notebook needs the installed package; its first cell goes to the repository, where the lessons read their files.
"""

import base64
import json
import re
import textwrap
from pathlib import Path

from lessons.book import exercises
from lessons.book.text import OUTPUTS, Lesson, expand, usable_recording

START = """import os
from pathlib import Path

import lessons

os.chdir(Path(lessons.__file__).parents[1])  # files are read from there"""
_BOX = re.compile(r'^(?P<pad> *)(?:\?\?\?|!!!|===)\+? *(?:(?P<kind>[a-z]+) *)?(?:"(?P<title>.*)")? *$')


def notebook(lesson: Lesson) -> dict:
    """The lesson as the content of an .ipynb file."""
    done = usable_recording(lesson)
    outputs = iter(done["cells"])
    cells = [_text_cell(0, f"# {lesson.number} {lesson.title}\n\n{lesson.lead}"), _code_cell(1, START, [])]
    for number, cell in enumerate(lesson.cells(), 2):
        if cell.kind == "text":
            values = {text: done["values"].get(text, "?") for text in cell.values}
            more = exercises.directives(lesson.number)
            cells.append(_text_cell(number, plain(expand(cell.body, f"lessons/{lesson.key}.md", values, more))))
        else:
            cells.append(_code_cell(number, cell.body, [_output(output, lesson) for output in next(outputs, [])]))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}


def write(lesson: Lesson, folder: Path) -> Path:
    """Write the notebook of a lesson under a folder and give its path."""
    file = folder / f"{lesson.key}.ipynb"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(notebook(lesson), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return file


def plain(markdown: str) -> str:
    """A page's Markdown as a notebook understands it: folds as <details>, no fields, plain fences, links as text."""
    markdown = re.sub(r"^( *)``` \{\.(\w+)[^}]*\}", r"\1```\2", _unboxed(markdown), flags=re.M)
    markdown = re.sub(r'<p class="guess">.*?</p>\n?|<p class="box-title">.*?</p>\n?', "", markdown, flags=re.S)
    markdown = re.sub(r"^</?div[^>]*>\n?| markdown=\"\w+\"| data-search-exclude=\"\"", "", markdown, flags=re.M)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)(\{[^}]*\})?", r"\1", markdown).strip()


def _unboxed(markdown: str) -> str:
    """`??? hint "Title"` and its indented text as <details>; `!!!` and `===` as a bold title."""
    lines, out = markdown.split("\n"), []
    while lines:
        line = lines.pop(0)
        match = _BOX.match(line)
        if match is None:
            out.append(line)
            continue
        inside = []
        while lines and (not lines[0].strip() or lines[0].startswith(match["pad"] + "    ")):
            inside.append(lines.pop(0))
        body = _unboxed(textwrap.dedent("\n".join(inside)).strip())
        title = match["title"] or (match["kind"] or "").capitalize()
        if "???" in line:
            out += ["<details>", f"<summary>{title}</summary>", "", body, "", "</details>", ""]
        else:
            out += [f"**{title}**", "", body, ""]
    return "\n".join(out)


def _text_cell(number: int, text: str) -> dict:
    source = text.splitlines(keepends=True)
    return {"cell_type": "markdown", "id": f"cell-{number:02d}", "metadata": {}, "source": source}


def _code_cell(number: int, code: str, outputs: list[dict]) -> dict:
    cell = {"cell_type": "code", "id": f"cell-{number:02d}", "metadata": {}, "execution_count": None}
    return cell | {"outputs": outputs, "source": code.splitlines(keepends=True)}


def _output(output: dict, lesson: Lesson) -> dict:
    if "markdown" in output:
        data = {"text/markdown": output["markdown"], "text/plain": output["text"]}
    elif "text" in output:
        return {"output_type": "stream", "name": "stdout", "text": output["text"].splitlines(keepends=True)}
    else:
        file = OUTPUTS / lesson.key / output["file"]
        if file.suffix == ".svg":
            data = {"image/svg+xml": file.read_text("utf-8")}
        else:
            data = {"image/png": base64.b64encode(file.read_bytes()).decode()}
        data["text/plain"] = file.name
    return {"output_type": "display_data", "metadata": {}, "data": data}
