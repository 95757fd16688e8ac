"""Reading lesson scripts, and turning their text into Markdown: front matter, cells, and the book's own directives.

Needs only the standard library, so that the site can be built where torch is not installed. The directives, each alone
on a line:

    ::source minimodels.vit.ViT.embed        code read from its file at build time (`nodoc`, `fold`, `module#section`)
    ::predict answer="197"                   a box for a guess; indented below: the question, `---`, the answer
    ::quiz                                   indented: a question, `- [ ] wrong :: why not`, `- [x] right :: why`
    {=accuracy:.1%}                          in a sentence: a value of the lesson's run, as in an f-string
    [[2.3]]                                  a link to a lesson by its number (plain text while there is none)
"""

import ast
import functools
import html
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lessons.book.definitions import short_hash, whole_shape

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = ROOT / "docs" / "outputs"
PARTS = {
    "1_pixels": (
        "Pixels",
        "What is in a picture before any network looks at it, and the first networks that answer for every pixel.",
    ),
    "2_transformers": (
        "Transformers",
        "Attention, the block and the models that are stacks of it; loading official weights and proving it.",
    ),
    "3_image_text": (
        "Image and text",
        "One space for pictures and sentences: how it is learned, asked and searched, and what it cannot do.",
    ),
    "4_segment_by_text": (
        "Segment by text",
        "A sentence in, a mask out: decoders on CLIP, language inside the backbone, and where they fail.",
    ),
    "5_segment_by_example": (
        "Segment by example",
        "A click, a box or one example picture in, a mask out: SAM and matching without training.",
    ),
    "6_in_practice": ("In practice", "Speed and memory, several processes, and taking a model elsewhere."),
}
_CELL = re.compile(r"^# %%[ ]*(?P<head>.*)$", re.M)
_OPTION = re.compile(r'([\w-]+)(?:="([^"]*)")?')
_VALUE = re.compile(r"\{=([^{}\n]+)\}")
_LINK = re.compile(r"\[\[(\d\.\d+)\]\]")
_DIRECTIVE = re.compile(r"^(?P<pad>[ ]*)::(?P<name>[a-z]+)(?P<rest>[ ].*|)$")


class BookError(Exception):
    """A page cannot be made; the message names the file and says what to do."""


class Cell(NamedTuple):
    """One `# %%` cell: `kind` is "text" or "code", `line` the script's line number of its first line of `body`."""

    kind: str
    options: dict[str, str]
    line: int
    body: str

    @property
    def values(self) -> list[str]:
        """The expressions of `{=expression}` in a text cell."""
        return _VALUE.findall(self.body) if self.kind == "text" else []


@dataclass(frozen=True)
class Lesson:
    """A lesson script and what its docstring says: title, lead, and `key: value` lines (minutes, needs, paper ...)."""

    path: Path
    title: str = ""
    lead: str = ""
    about: dict[str, str] = field(default_factory=dict)

    @property
    def part(self) -> str:
        return self.path.parent.name

    @property
    def number(self) -> str:
        """Part and chapter: lessons/2_transformers/03_vit.py is 2.3."""
        return f"{self.part.partition('_')[0]}.{int(self.path.name[:2])}"

    @property
    def key(self) -> str:
        """Its place under docs/outputs, docs/lessons and docs/files: "2_transformers/03_vit"."""
        return f"{self.part}/{self.path.stem}"

    @property
    def script(self) -> str:
        return f"lessons/{self.key}.py"

    def cells(self) -> Iterator[Cell]:
        return read_cells(self.path.read_text("utf-8"))


def find_lessons(folder: Path = ROOT / "lessons") -> list[Lesson]:
    """All lesson scripts in the order of the book; one that cannot be read says why in `about["broken"]`."""
    lessons = []
    for path in sorted(folder.glob("[0-9]_*/[0-9][0-9]_*.py")):
        try:
            lessons.append(read_lesson(path))
        except (BookError, SyntaxError) as error:
            lessons.append(Lesson(path, path.stem, about={"broken": f"{path.name}: {error}", "minutes": "?"}))
    return lessons


def read_lesson(path: Path) -> Lesson:
    """Title, lead and `key: value` lines from the script's docstring; the script is not run."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    if not docstring:
        raise BookError("there is no docstring; its first line is the lesson's title")
    lines, about = docstring.splitlines(), {}
    while len(lines) > 1 and (match := re.fullmatch(r"([a-z]+): +(.*)", lines[-1])):
        about[match[1]] = match[2]
        lines.pop()
    if "minutes" not in about:
        raise BookError("the docstring has no line 'minutes: 15' (the lines 'key: value' are its last ones)")
    return Lesson(path, lines[0].rstrip("."), "\n".join(lines[1:]).strip(), dict(reversed(about.items())))


def read_cells(text: str) -> Iterator[Cell]:
    """Split a percent-format script at its `# %%` lines; the docstring before the first belongs to no cell."""
    marks = list(_CELL.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None]):
        body = text[mark.end() + 1 : following.start() if following else len(text)].rstrip("\n")
        line = text.count("\n", 0, mark.end()) + 2
        head = mark["head"]
        if head.startswith("[markdown]"):
            yield Cell("text", {}, line, re.sub(r"^# ?", "", body, flags=re.M))
        else:
            yield Cell("code", dict(_OPTION.findall(head)), line, body)


def recording(lesson: Lesson) -> dict | None:
    """What a run of the lesson left: values, outputs of each code cell, fingerprints; None when it never ran."""
    file = OUTPUTS / lesson.key / "record.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else None


def usable_recording(lesson: Lesson) -> dict:
    """The recording when it has as many code cells as the script; else an empty one, for a page without outputs."""
    record = recording(lesson)
    if record is None or len(record["cells"]) != sum(cell.kind == "code" for cell in lesson.cells()):
        return {"with": {}, "values": {}, "cells": []}
    return record


# ---------------------------------------------------------------- fingerprints
def fingerprint(path: Path) -> str:
    """A hash that changes when what a file does may have changed: Python by its syntax tree, text whatever its line
    ends.

    Of a lesson the cells count one by one: moving a line to another cell moves its output.
    """
    data = path.read_bytes()
    if path.suffix == ".py":
        text = data.decode("utf-8")
        pieces = [cell.body for cell in read_cells(text) if cell.kind == "code"] or [text]
        data = "\n".join(whole_shape(piece) for piece in pieces).encode()
    elif b"\0" not in data[:4096]:
        data = data.replace(b"\r\n", b"\n")
    return short_hash(data)


# ---------------------------------------------------------------- code from its file
class Snippet(NamedTuple):
    """Code read from a file: `file` from the repository root, `line` of its first line."""

    code: str
    file: str
    line: int


def source(name: str, root: Path = ROOT) -> Snippet:
    """The text of `package.module.symbol[.method]`, or of what stands between `# section: x` and `# end: x`
    in `package.module#x`."""
    dotted, _, section = name.partition("#")
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        stem = root.joinpath(*parts[:count])
        file = next((f for f in (stem.with_suffix(".py"), stem / "__init__.py") if f.is_file()), None)
        if file:
            break
    else:
        raise BookError(f"::source {name}: there is no such module")
    text = file.read_text("utf-8")
    place = file.relative_to(root).as_posix()
    if section:
        return _section(text, section, place)
    if count == len(parts):
        return Snippet(text.rstrip("\n"), place, 1)
    node: ast.AST = ast.parse(text)
    for wanted in parts[count:]:
        found = next((child for child in getattr(node, "body", []) if wanted in _names(child)), None)
        if found is None:
            raise BookError(f"::source {name}: {wanted} is not in {place}")
        node = found
    first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])  # type: ignore[attr-defined]
    lines = text.splitlines()[first - 1 : node.end_lineno]  # type: ignore[attr-defined]
    return Snippet(textwrap.dedent("\n".join(lines)), place, first)


def _names(node: ast.AST) -> set[str]:
    """What a statement defines: a function, a class, or the names left of an equals sign."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def _section(text: str, section: str, place: str) -> Snippet:
    lines = text.splitlines()
    try:
        first = next(i for i, line in enumerate(lines) if line.strip() == f"# section: {section}") + 1
        last = next(i for i, line in enumerate(lines) if line.strip() == f"# end: {section}" and i >= first)
    except StopIteration:
        raise BookError(f"{place} has no lines '# section: {section}' and '# end: {section}'") from None
    return Snippet(textwrap.dedent("\n".join(lines[first:last])), place, first + 1)


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def without_docstrings(code: str) -> str:
    """The same code, its docstrings left out (the page says in prose what they say)."""
    lines = code.splitlines()
    for node in sorted(ast.walk(ast.parse(code)), key=lambda n: -getattr(n, "lineno", 0)):
        if _is_docstring(node):
            del lines[node.lineno - 1 : node.end_lineno]  # type: ignore[attr-defined]
    return "\n".join(lines)


# ---------------------------------------------------------------- directives
def fence(snippet: Snippet, options: dict[str, str]) -> str:
    """A code block titled with its file and numbered as there."""
    code, numbers = snippet.code, f' linenums="{snippet.line}"'
    if "nodoc" in options:
        code, numbers = without_docstrings(code), ""
    block = f'``` {{.python title="{snippet.file}"{numbers}}}\n{code}\n```'
    if "fold" not in options:
        return block
    return f'??? abstract "{options["fold"] or "The code: " + snippet.file}"\n\n' + textwrap.indent(block, "    ")


def _source_block(rest: str, body: str) -> str:
    name, _, options = rest.strip().partition(" ")
    return fence(source(name), dict(_OPTION.findall(options)))


def _predict(rest: str, body: str) -> str:
    """A question to answer before reading on: a field that knows the answer, or room for a sentence."""
    options = dict(_OPTION.findall(rest))
    question, _, answer = (part.strip() for part in body.partition("\n---\n"))
    if options.get("answer"):
        field_html = (
            f'<p class="guess"><label>Your answer <input type="text" autocomplete="off" spellcheck="false"'
            f' data-answer="{html.escape(options["answer"])}"></label> <output aria-live="polite"></output></p>'
        )
    else:
        field_html = '<p class="guess"><label>Your guess <textarea rows="2" data-keep></textarea></label></p>'
    reveal = ""
    if answer:
        reveal = f'\n<details class="reveal" markdown="1">\n<summary>Compare</summary>\n\n{answer}\n\n</details>\n'
    head = '<p class="box-title">Predict before you read on</p>'
    return f'<div class="predict" markdown="1">\n{head}\n\n{question}\n\n{field_html}\n{reveal}\n</div>'


def _quiz(rest: str, body: str) -> str:
    """A question with answers to open one by one; each says why it is right or wrong."""
    items = list(re.finditer(r"^- \[(?P<mark>[ x])\] (?P<text>.*(?:\n {2,}.*)*)", body, re.M))
    if not items or sum(item["mark"] == "x" for item in items) != 1:
        raise BookError("::quiz needs answers '- [ ] wrong :: why not' and exactly one '- [x] right :: why'")
    out = [
        '<div class="quiz" markdown="1">',
        '<p class="box-title">Check yourself</p>',
        "",
        body[: items[0].start()].strip(),
        "",
    ]
    for item in items:
        choice, _, why = (" ".join(part.split()) for part in item["text"].partition("::"))
        kind, verdict = ("yes", "Right.") if item["mark"] == "x" else ("no", "Not this one.")
        out += [f'<details class="{kind}" markdown="1">', f'<summary markdown="span">{choice}</summary>', ""]
        out += [f"**{verdict}** {why}", "", "</details>"]
    return "\n".join([*out, "</div>"])


DIRECTIVES: dict[str, Callable[[str, str], str]] = {"source": _source_block, "predict": _predict, "quiz": _quiz}


def expand(markdown: str, here: str, values: dict[str, str] | None = None, directives: dict | None = None) -> str:
    """Replace values, lesson links and directives in Markdown.

    `here` is the page's place under docs/, as "lessons/2_transformers/03_vit.md"; `directives` adds to the usual
    ones.
    """
    known = DIRECTIVES | (directives or {})
    if values is not None:
        markdown = _VALUE.sub(lambda match: values[match[1]], markdown)
    markdown = _LINK.sub(lambda match: link(match[1], here), markdown)
    lines, out, fenced = markdown.split("\n"), [], False
    while lines:
        line = lines.pop(0)
        fenced ^= line.lstrip().startswith("```")
        match = None if fenced else _DIRECTIVE.match(line)
        if match is None:
            out.append(line)
            continue
        if match["name"] not in known:
            raise BookError(f"{here}: unknown directive ::{match['name']} (known: {', '.join(sorted(known))})")
        body = []
        while lines and (not lines[0].strip() or lines[0].startswith(match["pad"] + "    ")):
            body.append(lines.pop(0))
        block = known[match["name"]](match["rest"], textwrap.dedent("\n".join(body)).strip())
        out += [textwrap.indent(block, match["pad"]), ""]
    return "\n".join(out)


def link(number: str, here: str) -> str:
    """A Markdown link to a lesson by its number; the number alone while there is no such lesson."""
    lesson = next((lesson for lesson in _lessons() if lesson.number == number), None)
    if lesson is None:
        return number
    up = "../" * (len(PurePosixPath(here).parts) - 1)
    return f"[{number} {lesson.about.get('nav', lesson.title)}]({up}lessons/{lesson.key}.md)"


@functools.lru_cache(maxsize=1)
def _lessons() -> tuple[Lesson, ...]:
    """The lessons that have a page; `lessons.book` clears the cache before it writes them."""
    return tuple(lesson for lesson in find_lessons() if "broken" not in lesson.about)
