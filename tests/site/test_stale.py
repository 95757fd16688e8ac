"""A recording goes stale by what its run used, and by nothing else: on a copy of the project; no lesson is run."""

import ast
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lessons.book import text
from lessons.book.definitions import Definitions, Place
from lessons.book.text import ROOT, find_lessons, fingerprint
from tests.site.copies import look_at, why_stale, write

PACKAGES = ("minimodels", "checkpoints_convert", "lessons")


@pytest.fixture(scope="module")
def whole_book(tmp_path_factory):
    """The project's tracked files, each recording with today's hash of what it names, whatever it was."""
    folder = tmp_path_factory.mktemp("book")
    folders = (*PACKAGES, "docs/outputs")
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True)
    places = [ROOT / name for name in listed.stdout.split("\0") if name]
    for path in places or [path for name in folders for path in (ROOT / name).rglob("*")]:
        if path.is_file() and "__pycache__" not in path.parts:
            (folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path.relative_to(ROOT))
    for file in folder.glob("docs/outputs/*/*/record.json"):
        record = json.loads(file.read_text("utf-8"))
        found = Definitions(folder, record["used"])
        for name, known in record["used"].items():
            if isinstance(known, dict):
                record["used"][name] = {one: found.hash(Place(name, one)) for one in known}
            elif (folder / name).is_file():
                record["used"][name] = fingerprint(folder / name)
        file.write_text(json.dumps(record), "utf-8")
    return folder


@pytest.fixture
def book(whole_book, tmp_path, monkeypatch):
    shutil.copytree(whole_book, tmp_path / "book", copy_function=os.link)
    look_at(tmp_path / "book", monkeypatch)
    return tmp_path / "book"


def news(book: Path, edit: Callable[[], object]) -> dict[str, list[str]]:
    """The reasons that an edit adds, by lesson."""
    before = why_stale(book)
    edit()
    added = {key: [one for one in why if one not in before.get(key, [])] for key, why in why_stale(book).items()}
    return {key: why for key, why in added.items() if why}


def users(book: Path, file: str, name: str | None = None) -> set[str]:
    """The lessons whose recording names a file or a definition."""
    found = set()
    for lesson in find_lessons(book / "lessons"):
        known = (text.recording(lesson) or {"used": {}})["used"].get(file)
        if known is not None and (name is None or name in known):
            found.add(lesson.key)
    return found


def rewrite(book: Path, file: str, edit: Callable[[str], str]) -> None:
    before = (book / file).read_text("utf-8")
    after = edit(before)
    assert after != before, f"{file} is as it was"
    (book / file).unlink()
    (book / file).write_text(after, "utf-8")


def append(book: Path, file: str, more: str) -> None:
    rewrite(book, file, lambda before: before + more)


def test_every_recording_names_definitions(book):
    for lesson in find_lessons(book / "lessons"):
        used = (text.recording(lesson) or {"used": {}})["used"]
        assert sum(isinstance(known, dict) for known in used.values()) >= 2, lesson.key
        assert [file for file in used if file.endswith(".py") and isinstance(used[file], str)] == [lesson.script]


def test_what_is_new_makes_nothing_stale(book):
    def edit():
        new = "\n\nclass Brand{}:\n    size = 3\n\n    def __call__(self, text):\n        return text\n"
        append(book, "minimodels/words/byte_pair.py", new.format("NewTokenizer"))
        append(book, "minimodels/pixels/preprocess.py", new.format("NewPreprocess"))
        model = "from torch import nn\n\n\nclass BrandNew(nn.Module):\n    def forward(self, x):\n        return x\n"
        write(book, {"minimodels/brand_new.py": model})
        table = (book / "checkpoints_convert/tables/vit.py").read_text("utf-8")
        write(book, {"checkpoints_convert/tables/brand_new.py": table.replace("vit", "brand_new")})

    assert news(book, edit) == {}


def test_reworded_errors_make_nothing_stale(book):
    """None of the errors of blocks.py is shown by a lesson."""
    words = re.compile(r'(raise \w+\(\s*f?")')
    assert news(book, lambda: rewrite(book, "minimodels/blocks.py", lambda code: words.sub(r"\1Now: ", code))) == {}


def test_docstrings_annotations_and_comments_make_nothing_stale(book):
    """Every file of the project but the lessons, written anew from its syntax tree with other words and annotations."""

    class Reword(ast.NodeTransformer):
        def visit_Expr(self, node):
            docstring = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            return ast.Expr(ast.Constant("Other words.")) if docstring else node

        def visit_arg(self, node):
            return ast.arg(node.arg, ast.Constant("reworded") if node.annotation else None)

        def visit_FunctionDef(self, node):
            node.returns = None if node.returns else ast.Constant("reworded")
            return self.generic_visit(node)

        def visit_AnnAssign(self, node):
            if not any(kind in ast.unparse(node.annotation) for kind in ("ClassVar", "InitVar", "KW_ONLY")):
                node.annotation = ast.Constant("reworded")
            return node

    scripts = {lesson.script for lesson in find_lessons(book / "lessons")}  # their comments are the page

    def edit():
        for package in PACKAGES:
            for path in (book / package).rglob("*.py"):
                if path.relative_to(book).as_posix() not in scripts:
                    code = ast.unparse(Reword().visit(ast.parse(path.read_text("utf-8"))))
                    path.unlink()
                    path.write_text("# a new first line\n" + code, "utf-8")

    assert news(book, edit) == {}


def test_one_operator_of_attention(book):
    """All lessons that run it are stale, by its name, and no other."""

    def exchange(code: str) -> str:
        tree = ast.parse(code)
        owner = next(node for node in tree.body if getattr(node, "name", "") == "Attention")
        forward = next(node for node in owner.body if getattr(node, "name", "") == "forward")
        inside = ast.walk(ast.Module(forward.body, []))  # an annotation's `|` is none
        sign = next(node for node in inside if isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare))
        if isinstance(sign, ast.BinOp):
            sign.op = ast.Sub() if isinstance(sign.op, ast.Add) else ast.Add()
        elif isinstance(sign, ast.BoolOp):
            sign.op = ast.Or() if isinstance(sign.op, ast.And) else ast.And()
        else:
            sign.ops = [ast.LtE() if isinstance(sign.ops[0], ast.Lt) else ast.Lt()]
        return ast.unparse(tree)

    expected = users(book, "minimodels/blocks.py", "Attention.forward")
    assert {"2_transformers/03_vit", "3_image_text/02_clip", "4_segment_by_text/01_clipseg"} <= expected
    assert "3_image_text/01_bpe" not in expected
    reasons = ["minimodels/blocks.py: Attention.forward changed"]
    assert news(book, lambda: rewrite(book, "minimodels/blocks.py", exchange)) == dict.fromkeys(expected, reasons)


@pytest.mark.parametrize("kind", ["sheet.png", ".safetensors", ".json"])
def test_changed_data(book, kind):
    """Weights, the sticker sheet, figures and logs: those are stale that read the file."""
    recordings = [text.recording(lesson) for lesson in find_lessons(book / "lessons")]
    files = sorted({name for one in recordings if one for name in one["used"] if name.endswith(kind)})
    assert files
    for file in files:
        expected = users(book, file)
        content = (book / file).read_bytes()
        (book / file).unlink()  # a link to the file of the other tests
        (book / file).write_bytes(content)
        added = news(book, partial((book / file).write_bytes, content + b"1"))
        assert added == dict.fromkeys(expected, [f"{file} changed"])
        (book / file).write_bytes(content)


def test_changed_cells_and_changed_prose(book):
    """Code of a lesson makes it stale and its prose does not, but for a value that was never computed."""
    lessons = find_lessons(book / "lessons")

    def more_words():
        for lesson in lessons:
            append(book, lesson.script, "\n# %% [markdown]\n# More words.\n")

    assert news(book, more_words) == {}
    more = partial(append, book, lessons[0].script, "#\n# And {=1 + 1}.\n")
    assert news(book, more) == {lessons[0].key: ["{=1 + 1} was never computed"]}
    more = partial(append, book, lessons[1].script, "\n# %%\nmore = 1\n")
    assert news(book, more) == {lessons[1].key: [f"{lessons[1].script} changed"]}
