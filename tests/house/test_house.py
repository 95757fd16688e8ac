"""The rules of the house that a machine can check: where imports point, how long files are, what is never committed."""

import ast
import importlib
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Container
from pathlib import Path

import pytest

from lessons.book.reference import code_lines

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("minimodels", "checkpoints_convert", "lessons", "tests")
# What each package may import of the project itself.
ARROWS = {
    "minimodels": {"minimodels"},
    "checkpoints_convert": {"minimodels", "checkpoints_convert"},
    "lessons": {"minimodels", "checkpoints_convert", "lessons"},
    "tests": set(PACKAGES) | {"docs"},
}
# The command line of minimodels may import checkpoints_convert, inside a function: when a user names an official model.
DOOR = "minimodels/__main__.py"
FOREIGN = {
    "torchvision",
    "timm",
    "transformers",
    "open_clip",
    "cv2",
    "clip",
    "huggingface_hub",
    "skimage",
    "matplotlib",
}
ALLOWED = {"torch", "einops", "numpy", "PIL", "safetensors", "jaxtyping", "regex", "ftfy", "scipy", "ot", "minimodels"}
LONGEST_FUNCTION, LONGEST_FILE, FULLEST_FOLDER = 40, 500, 40


def python_files(*folders: str) -> list[Path]:
    """The project's Python files, without a learner's own work and what was copied."""
    return [
        file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in file.parts
    ]


def place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path, known: Container[str] = ()) -> list[tuple[str, int, bool]]:
    """(module, line, inside a function) of every import; relative ones are resolved.

    `from a.b import c` names a.b, or a.b.c where that is one of the `known` modules.
    """
    tree = ast.parse(file.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {id(node) for function in functions for node in ast.walk(function)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) in lazy) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(file.relative_to(ROOT).parts[: -node.level]) + "." if node.level else ""
            module = (base + (node.module or "")).rstrip(".")
            names = {f"{module}.{alias.name}" for alias in node.names}
            chosen = {name if name in known else module for name in names}
            found += [(name, node.lineno, id(node) in lazy) for name in sorted(chosen)]
    return found


def test_arrows_point_one_way():
    wrong = []
    for package in PACKAGES:
        for file in python_files(package):
            for module, line, lazy in imports(file):
                top = module.partition(".")[0]
                door = place(file).startswith(DOOR) and top == "checkpoints_convert" and lazy
                if top in (*PACKAGES, "docs") and top not in ARROWS[package] and not door:
                    wrong.append(f"{place(file)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_minimodels_imports_little():
    """Only its listed libraries and the standard library; never the references it is compared with."""
    wrong = []
    for file in python_files("minimodels"):
        for module, line, lazy in imports(file):
            top = module.partition(".")[0]
            door = place(file).startswith(DOOR) and top == "checkpoints_convert" and lazy
            if top in FOREIGN or not (top in ALLOWED or top in sys.stdlib_module_names or door):
                wrong.append(f"{place(file)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_models_load_without_the_references():
    """Importing every module of minimodels loads none of the libraries it is compared with."""
    files = [file for file in python_files("minimodels") if not file.stem.startswith("__")]
    modules = [place(file).removesuffix(".py").replace("/", ".") for file in files]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
    code += f"print(sorted(set(sys.modules) & {FOREIGN}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def limits() -> dict[str, int]:
    """The most code lines (without blanks, comments and docstrings) that a file may have.

    The tests of a system or of a folder say it: `CODE_LINES` in tests/systems/<system>/__init__.py and the like.
    """
    files = sorted([*(ROOT / "tests").glob("*/__init__.py"), *(ROOT / "tests" / "systems").glob("*/__init__.py")])
    modules = [importlib.import_module(".".join(file.parent.relative_to(ROOT).parts)) for file in files]
    return {name: lines for module in modules for name, lines in getattr(module, "CODE_LINES", {}).items()}


@pytest.mark.parametrize("name", limits())
def test_models_are_short(name):
    lines, limit = code_lines((ROOT / name).read_text("utf-8")), limits()[name]
    assert lines <= limit, f"{name} has {lines} code lines, at most {limit}"


def test_every_model_has_a_limit():
    """Whoever adds a model says how long it may be, in the `CODE_LINES` of its tests."""
    models = {place(file) for file in (ROOT / "minimodels").glob("[a-z]*.py")}
    assert not models - limits().keys()


def test_no_imports_in_a_circle():
    """Not at the top of a file and not inside a function: what each module needs lies below it."""
    known = {dotted(file): file for file in python_files(*PACKAGES)}
    needs = {name: {module for module, _, _ in imports(file, known) if module in known} for name, file in known.items()}
    while free := [name for name, needed in needs.items() if not needed & needs.keys()]:  # needs no other any more
        needs = {name: needed for name, needed in needs.items() if name not in free}
    while unasked := needs.keys() - set().union(*needs.values()):  # above a circle, in none
        needs = {name: needed for name, needed in needs.items() if name not in unasked}
    assert not needs, f"in a circle: {', '.join(sorted(needs))}"


def dotted(file: Path) -> str:
    """The name of a module by its file."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_folder_is_crowded():
    """Whoever opens a folder sees what is in it."""
    entries: dict[str, set[str]] = {}
    for file in tracked():
        parts = file.relative_to(ROOT).parts
        for depth in range(1, len(parts)):
            entries.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    full = {name: len(inside) for name, inside in entries.items() if len(inside) > FULLEST_FOLDER}
    assert not [name for name in full if name.startswith(PACKAGES) and not name.startswith("tests/golden/")], full


def test_functions_and_files_are_short():
    """A function's code lines, its docstring and comments aside; a file's lines, all of them.

    A constructor may be longer: it lists what a model is made of.
    """
    long = []
    for file in python_files(*PACKAGES, "docs"):
        text = file.read_text("utf-8")
        if len(text.splitlines()) > LONGEST_FILE:
            long.append(f"{place(file)}: {len(text.splitlines())} lines, at most {LONGEST_FILE}")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
                indented = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                length = code_lines(textwrap.dedent(indented))
                if length > LONGEST_FUNCTION:
                    long.append(
                        f"{place(file)}:{node.lineno} {node.name}: {length} code lines, at most {LONGEST_FUNCTION}"
                    )
    assert not long, "\n".join(long)


def test_nothing_is_left_to_do():
    """No reminders and no stubs in what is shipped (an exercise's stub is one by intention)."""
    wanted = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError")
    left = [
        f"{place(file)}:{number}"
        for file in python_files("minimodels", "checkpoints_convert")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if wanted.search(line)
    ]
    assert not left, left


def test_constraints_are_names_and_versions():
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.]*( ; .+)?", line), line
        assert "://" not in line and "+" not in line.partition(";")[0]


def tracked() -> list[Path]:
    """The files in git; outside a checkout, the text files of the folders."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0 and done.stdout:
        return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [*ROOT.glob("*.*"), *python_files(*PACKAGES), *(ROOT / "docs").rglob("*.md")]


def test_no_folder_of_a_machine_is_committed():
    """Recorded outputs, tables and texts name no home folder and no absolute path of where they were made."""
    places = re.compile(rb"(?<![\w.~/-])/(?:home|Users|root|work|workspace|mnt|tmp/[a-z])/?[\w.-]*|[A-Z]:\\\\Users")
    fine = re.compile(rb"/tmp/chromium-install\.log|/home/you|/root/|/tmp/[a-z]+/?\b(?=.*# path: fine)")
    found = []
    for file in tracked():
        data = file.read_bytes()
        if b"\0" in data[:4096] or file.suffix in (".svg", ".woff2") or file == Path(__file__).resolve():
            continue
        if file.suffix in (".json", ".md", ".txt", ".yml", ".toml", ".cff") or file.name in ("Makefile", "run"):
            for number, line in enumerate(data.splitlines(), 1):
                if (match := places.search(line)) and not fine.search(line):
                    found.append(f"{place(file)}:{number}: {match[0].decode()}")
    assert not found, "\n".join(found[:20])


def test_recordings_are_plain_json():
    """Paths of a recording are relative and written with forward slashes, wherever it was made."""
    for file in sorted((ROOT / "docs" / "outputs").rglob("record.json")):
        record = json.loads(file.read_text("utf-8"))
        assert set(record) == {"with", "used", "values", "cells"}, place(file)
        assert not [name for name in record["used"] if name.startswith("/") or "\\" in name or ".." in name], place(
            file
        )
