"""The reference pages of the book, written from files: API, parity report, benchmarks, model cards, glossary; and the
navigation.

    docs/includes/glossary.md      one line a term, `*[term]: what it means [[2.3]]`; glossary page and tooltips
    docs/data/parity.json          {"command", "versions", "rows": [{"model", "reference", "what", "output", ...}]}
    docs/data/sweep.json           {"command", "versions", "rows": [{"group", "name", "agrees", "difference", "words"}]}
    docs/data/bench.json           {"command", "machine", "rows": [{"work", "reference", "ours_ms", "ratio", ...}]}
    minimodels/weights/NAME/card.md    one card a model
    minimodels/*.py, checkpoints_convert/*.py     one API page a module

A page exists as soon as its file does. The modules that have a page are read, not imported.
"""

import ast
import html
import json
import re
from collections.abc import Callable
from pathlib import Path

from lessons.book.diagrams import Drawing
from lessons.book.text import ROOT, BookError, link
from minimodels.stored import embedded

DOCS, REFERENCE = ROOT / "docs", ROOT / "docs" / "reference"
PACKAGES = {
    "minimodels": "The models, one file each, and the rooms of what they need.",
    "checkpoints_convert": "Official checkpoints in and out.",
}
SENTENCES, VECTOR = ["a cat", "a dog", "a red car"], [0.7, 0.2, 0.9, 0.4, 0.1, 0.6]  # of the front page's drawing
GENERAL = ["conventions.md", "glossary.md"]  # these first, then any other page in docs/
_TERM = re.compile(r"^\*\[(?P<term>[^\]]+)\]: (?P<meaning>.+)$", re.M)

PARITY_COLUMNS = {
    "model": "model",
    "reference": "reference",
    "what": "configuration",
    "output": "output",
    "blocks": "blocks",
    "gradients": "gradients",
    "float32": "output in float32",
    "cuda_float64": "CUDA, float64",
    "cuda_float32": "CUDA, float32",
    "cuda_bfloat16": "CUDA, bf16",
    "lines": "lines of code",
}
PARITY = """---
title: Parity report
hide: [toc]
---

# Parity report

Every parameter of the reference is redrawn, its tensors pass through the conversion table into our model, and both
compute the same batch. The figures are the largest differences in float64,
$\\lvert a - b \\rvert / (1 + \\lvert b \\rvert)$ ($a$ ours, $b$ the reference's): over the output, over the output
of every block, and over the gradients of the input and of every parameter. The bar is 1e-10.

{table}

Made by `{command}` with {versions}.

"Official code" stands for golden cases: numbers that the official repository's own code gave once, on weights made
from the names and shapes alone. They hold where no library has the model, and beside the libraries where one does.

A parity test is worth what it can catch. Each has mutants beside it, models with one mistake (another epsilon, the
tanh GELU, no scale, swapped norms, heads in the wrong order), which must fail it.
"""
SWEEP = """---
title: Every name
hide: [toc]
---

# Every name

Which of a library's models can be converted? Every name of the library is built, with two blocks where it has dozens,
its parameters are redrawn, and it is saved with its config as the library itself writes it. Our loader is given that
folder. Either the answers agree, to 1e-10 in float64 (the figure is the largest difference,
$\\lvert a - b \\rvert / (1 + \\lvert b \\rvert)$), or the file is refused with a line that says why. {counts}.

{tables}

Made by `{command}` with {versions}.
"""
BENCH_COLUMNS = {
    "work": "work",
    "reference": "reference",
    "ours_ms": "ours, ms",
    "reference_ms": "reference, ms",
    "ratio": "time ratio",
    "noise": "noise",
    "ours_mb": "ours, MB",
    "reference_mb": "reference, MB",
    "memory_ratio": "memory ratio",
    "bar": "bar",
}
BENCH = """---
title: Benchmarks
hide: [toc]
---

# Benchmarks

Ours and the fastest reference, interleaved in one run on one thread: medians, with the noise, ours measured against
ours, beside them. A ratio below 1 means that ours is faster or smaller; a time ratio up to 1.05 and a memory ratio up
to 1.03 count as equal. The bar is what this project asks of itself.

{table}

{notes}

Made by `{command}` on {machine}. Run it on yours: ratios travel better than milliseconds.
"""


# ---------------------------------------------------------------- navigation
def navigation(lessons: dict[str, list[str]], titles: dict[str, str]) -> list:
    """The tree of pages for MkDocs: home, lessons by part, reference, API; writes the pages that come from files."""
    made = write_reference()
    others = sorted(path.name for path in DOCS.glob("*.md") if path.name not in ("index.md", *GENERAL))
    reference = [name for name in GENERAL if (DOCS / name).is_file()] + made["reports"] + others
    api = ["reference/api/index.md", *({package: by_room(pages, package)} for package, pages in made["api"].items())]
    tree: list = [{"Home": "index.md"}]
    tree += [{"Lessons": [{titles[part]: pages} for part, pages in lessons.items()]}] if lessons else []
    return [*tree, {"Reference": reference}, {"API": api}]


def by_room(pages: list[str], folder: str) -> list:
    """The pages of a folder as MkDocs nests them: its own first, then each room below it with its pages."""
    rooms: dict[str, list[str]] = {}
    for page in pages:
        below = Path(page).relative_to(f"reference/api/{folder}").parts
        rooms.setdefault(below[0] if len(below) > 1 else "", []).append(page)
    return rooms.pop("", []) + [{room: by_room(inside, f"{folder}/{room}")} for room, inside in rooms.items()]


def write_reference() -> dict:
    """Write docs/reference/ from the files that are there, remove the rest, and give the page names."""
    pages: dict[str, str] = {}
    for name, make in (("parity", parity_page), ("sweep", sweep_page), ("bench", bench_page)):
        file = DOCS / "data" / f"{name}.json"
        if file.is_file():
            pages[f"reference/{name}.md"] = make(json.loads(file.read_text("utf-8")))
    cards = sorted(embedded.WEIGHTS.glob(f"*/{embedded.CARD}"))
    if cards:
        pages["reference/cards.md"] = cards_page(cards)
    reports = list(pages)
    modules = {package: files for package in PACKAGES if (files := public_modules(package))}
    api = {package: [f"reference/api/{api_place(file)}" for file in files] for package, files in modules.items()}
    for package, files in modules.items():
        pages |= {name: api_page(file) for name, file in zip(api[package], files)}
    pages["reference/api/index.md"] = api_index(modules)
    for old in REFERENCE.rglob("*.md"):
        if old.relative_to(DOCS).as_posix() not in pages:
            old.unlink()
    for name, text in pages.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    return {"reports": reports, "api": api}


# ---------------------------------------------------------------- API
def summary(file: Path) -> str:
    """The first paragraph of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def code_lines(text: str) -> int:
    """Lines of code: no blanks, comments or docstrings (the count of the project's size limits)."""
    lines: set[int] = set()
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.strip().startswith("#") and number not in docstrings:
            lines.add(number)
    return len(lines)


def public_modules(package: str) -> list[Path]:
    """The modules of a package that have a page: first those at its top, then room by room; commands have none."""
    files = [path for path in (ROOT / package).rglob("*.py") if "commands" not in path.parts]
    shown = [path for path in files if not path.name.startswith("_") or says_something(path, package)]
    return sorted(shown, key=lambda path: (path.parent, path.stem))


def says_something(path: Path, package: str) -> bool:
    """Whether it is the `__init__.py` of a room that defines something itself."""
    if path.name != "__init__.py" or path.parent == ROOT / package:
        return False
    return any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in ast.parse(path.read_text("utf-8")).body)


def api_place(file: Path) -> str:
    """The page of a module: beside those of its room, or the room's first one."""
    path = file.relative_to(ROOT)
    return (path.with_name("index.md") if path.stem == "__init__" else path.with_suffix(".md")).as_posix()


def api_name(file: Path) -> str:
    """A module's name as one imports it."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def api_page(file: Path) -> str:
    """One module: what it is for, then its public names by mkdocstrings."""
    name = api_name(file)
    lines = code_lines(file.read_text("utf-8"))
    head = f"---\ntitle: {name.rpartition('.')[2]}\n---\n\n# `{name}`\n\n"
    return f"{head}{lines} lines of code.\n{{: .api-size }}\n\n::: {name}\n"


def api_index(packages: dict[str, list[Path]]) -> str:
    out = ["---", "title: API", "---", "", "# API", ""]
    out += ["The public names of both packages, from their docstrings. Shapes are part of the signatures and enforced"]
    out += ["in the tests."]

    for package, files in packages.items():
        out += [
            "",
            f"## {package}",
            "",
            PACKAGES[package],
            "",
            "| module | lines of code | what it is |",
            "|:--|--:|:--|",
        ]
        for file in files:
            name = api_name(file).partition(".")[2]
            what = summary(file).replace("|", "\\|")
            count = code_lines(file.read_text("utf-8"))
            out.append(f"| [`{name}`]({api_place(file)}) | {count} | {what} |")
    return "\n".join(out) + "\n"


# ---------------------------------------------------------------- reports
def parity_page(data: dict) -> str:
    """The parity report: the largest difference of each model from its reference."""
    versions = ", ".join(f"{name} {number}" for name, number in data.get("versions", {}).items())
    return PARITY.format(table=_table(PARITY_COLUMNS, data["rows"]), command=data["command"], versions=versions)


def sweep_page(data: dict) -> str:
    """Every name of the libraries: what agrees, and the words of each refusal."""
    groups: dict[str, list[dict]] = {}
    for row in data["rows"]:
        shown = {"name": f"`{row['name']}`", "result": "agrees" if row["agrees"] else "refused"}
        groups.setdefault(row["group"], []).append(shown | {"difference": row["difference"], "why": row["words"]})
    columns = {"name": "name", "result": "", "difference": "difference", "why": "why"}
    tables = [f"## {group}\n\n{_table(columns, rows)}" for group, rows in groups.items()]
    agree = sum(row["agrees"] for row in data["rows"])
    counts = f"Of {len(data['rows'])} names {agree} agree and {len(data['rows']) - agree} are refused"
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    return SWEEP.format(tables="\n\n".join(tables), counts=counts, command=data["command"], versions=versions)


def bench_page(data: dict) -> str:
    """Speed and memory beside the references, what misses its bar, and what a reader must know of a row."""
    rows = data["rows"]
    missed = [row for row in rows if not row.get("ok", True)]
    notes = [f"- **{row['work']}** misses its bar: {row['ratio']:.2f} against {row['bar']}." for row in missed]
    notes += [f"- {note}" for note in dict.fromkeys(row.get("note") for row in rows) if note]
    table = _table(BENCH_COLUMNS, rows)
    machines: dict[str, list[str]] = {}
    for row in rows:
        machines.setdefault(row.get("machine", data["machine"]), []).append(row["work"])
    names = list(machines)
    if len(names) > 1:  # some were measured again on another machine: say which
        names = [f"{name} ({'; '.join(works)})" for name, works in machines.items()]
    return BENCH.format(table=table, notes="\n".join(notes), command=data["command"], machine=", and on ".join(names))


def cards_page(cards: list[Path]) -> str:
    """All model cards on one page, their headings one level down."""
    out = ["---", "title: Model cards", "---", "", "# Model cards", ""]
    out += [
        "The small trained models that come with the book: what they learned from, what they can do and cannot.",
        "",
    ]
    for card in cards:
        text = re.sub(r"\A---\n.*?\n---\n", "", card.read_text("utf-8"), flags=re.S).strip()
        out += [_lower_headings(text), ""]
    return "\n".join(out)


def _lower_headings(text: str) -> str:
    parts = re.split(r"(^```.*?^```)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else re.sub(r"^#", "##", part, flags=re.M) for part in parts)


def _table(columns: dict[str, str], rows: list[dict]) -> str:
    """A Markdown table of the columns (key: heading) that any row fills; numbers short, to the right."""
    kept = {key: head for key, head in columns.items() if any(row.get(key) not in (None, "") for row in rows)}
    numeric = {key for key in kept if all(isinstance(row.get(key), int | float | None) for row in rows)}
    lines = [" | ".join(kept.values()), " | ".join("--:" if key in numeric else ":--" for key in kept)]
    lines += [" | ".join(_short(row.get(key)) for key in kept) for row in rows]
    return '<div class="report" markdown="1">\n\n' + "\n".join(f"| {line} |" for line in lines) + "\n\n</div>"


def _short(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        if value and not 1e-3 <= abs(value) < 1e6:
            return f"{value:.1e}"
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return "official code" if value == "golden" else str(value).replace("|", "\\|")


def models_table() -> str:
    """The front page's table, one row a model; empty until the parity report exists."""
    file = DOCS / "data" / "parity.json"
    if not file.is_file():
        return ""
    models: dict[str, dict] = {}
    for row in json.loads(file.read_text("utf-8"))["rows"]:
        model = models.setdefault(row["model"], {"model": row["model"], "reference": [], "lines": row.get("lines")})
        if _short(row["reference"]) not in model["reference"]:
            model["reference"].append(_short(row["reference"]))
        worst = max(
            (row[key] for key in ("output", "blocks", "gradients") if isinstance(row.get(key), int | float)),
            default=None,
        )
        model["worst"] = max((value for value in (model.get("worst"), worst) if value is not None), default=None)
    rows = [model | {"reference": ", ".join(model["reference"])} for model in models.values()]
    columns = {
        "model": "model",
        "reference": "proven equal to",
        "worst": "largest difference in float64",
        "lines": "lines of code",
    }
    return _table(columns, rows) + "\n\n[The whole report](reference/parity.md)."


# ---------------------------------------------------------------- glossary
def terms() -> dict[str, str]:
    """The glossary: term -> meaning, in the order of the alphabet."""
    file = DOCS / "includes" / "glossary.md"
    found = (
        {match["term"]: match["meaning"] for match in _TERM.finditer(file.read_text("utf-8"))} if file.is_file() else {}
    )
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def front_drawing() -> str:
    """The picture of the front page: a picture and a sentence become vectors, and the vectors meet."""
    words = "A picture and sentences go through two towers; the vectors are compared, and one pair wins"
    drawing = Drawing(700, 230, words)
    shades = [[0.1, 0.2, 0.15, 0.1], [0.2, 0.85, 0.9, 0.2], [0.15, 0.9, 0.7, 0.25], [0.4, 0.5, 0.45, 0.5]]
    picture = drawing.grid(20, 16, 22, shades, tone="rust")
    prompts = [drawing.box(14, 132 + 28 * row, 100, 22, text, tone="blue") for row, text in enumerate(SENTENCES)]
    image_tower = drawing.box(180, 32, 130, 56, "image tower", "(B, 3, H, W)", tone="rust")
    text_tower = drawing.box(180, 143, 130, 56, "text tower", "(T, N)", tone="blue")
    image = drawing.grid(376, 53, 14, [VECTOR], tone="rust")
    texts = drawing.grid(376, 150, 14, [VECTOR[::-1], VECTOR, VECTOR[2:] + VECTOR[:2]], tone="blue")
    drawing.text(418, 38, "(B, D)", size=11, mono=True)
    drawing.text(418, 207, "(T, D)", size=11, mono=True)
    scores = drawing.grid(556, 100, 26, [[0.12, 0.92, 0.2]], tone="green")
    drawing.text(595, 84, "cosine, softmax", size=12)
    drawing.text(595, 143, "a dog", size=12)
    drawing.arrow(picture, image_tower)
    drawing.arrow(prompts[1], text_tower)
    drawing.arrow(image_tower, image)
    drawing.arrow(text_tower, texts)
    drawing.arrow((464, 60), (scores.x - 2, 108))
    drawing.arrow((464, 171), (scores.x - 2, 120))
    return f'<figure class="fig drawing">\n{drawing._repr_svg_()}\n</figure>'


def glossary_list() -> str:
    """All terms as a definition list, each with an anchor."""
    out = []
    for term, meaning in terms().items():
        anchor = re.sub(r"\W+", "-", term.lower()).strip("-")
        meaning = re.sub(r"\[\[(\d\.\d+)\]\]", lambda match: _where(match[1]), meaning)
        out.append(f'<span id="{anchor}">{html.escape(term)}</span>\n:   {meaning}\n')
    return "\n".join(out)


def _where(number: str) -> str:
    linked = link(number, "glossary.md")
    return linked if linked != number else f"(lesson {number})"


def abbreviations() -> str:
    """Markdown that gives every term its tooltip, in lower case, with a capital, and in the plural."""
    spelled: dict[str, str] = {}
    for term, meaning in terms().items():
        meaning = re.sub(r"\[\[(\d\.\d+)\]\]", r"(lesson \1)", meaning).replace("`", "")
        for form in (term, term + "s", term[0].upper() + term[1:], term[0].upper() + term[1:] + "s"):
            spelled.setdefault(form, meaning)
    return "\n".join(f"*[{form}]: {meaning}" for form, meaning in spelled.items())


def first_mentions(page: str) -> str:
    """Keep a term's tooltip at its first mention on a page, outside headings and links; the keyboard reaches it."""
    seen: set[str] = set()

    def once(match: re.Match) -> str:
        if match["title"] in seen or match["title"] is None:
            return match["word"]
        seen.add(match["title"])
        return f'<abbr title="{match["title"]}" tabindex="0">{match["word"]}</abbr>'

    abbreviation = re.compile(r'<abbr title="(?P<title>[^"]*)">(?P<word>[^<]*)</abbr>')
    pieces = re.split(r"(<h\d.*?</h\d>|<a .*?</a>|<summary.*?</summary>|<figure.*?</figure>)", page, flags=re.S)
    return "".join(abbreviation.sub(r"\g<word>" if number % 2 else once, piece) for number, piece in enumerate(pieces))


# ---------------------------------------------------------------- directives of the general pages
def directives() -> dict[str, Callable[[str, str], str]]:
    return {
        "glossary": lambda rest, body: glossary_list(),
        "drawing": lambda rest, body: front_drawing(),
        "models": lambda rest, body: models_table(),
        "figures": _record_of,
    }


def _record_of(rest: str, body: str) -> str:
    """`::figures 2_transformers/03_vit cell04a.png alt text`: a recorded figure of a lesson on a general page."""
    key, name, alt = rest.split(maxsplit=2)
    if not (DOCS / "outputs" / key / name).is_file():
        raise BookError(f"::figures: docs/outputs/{key}/{name} is not recorded")
    return f"![{alt}](outputs/{key}/{name}){{ loading=lazy }}"
