"""Exercises and learners' files: how they are run and what they hold."""

from __future__ import annotations

import ast
import importlib.util
import linecache
import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from lessons.checker.exercises import Exercise
from lessons.checker.task import Task

HOLDS_ANSWERS = ("minimodels", "checkpoints_convert", "lessons")


def load_exercise(exercise: Exercise) -> ModuleType:
    """The file of an exercise as the module exercise_2_1_2, once a process: its path is no name that Python imports."""
    name = f"exercise_{exercise.number.replace('.', '_')}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, exercise.file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # first, so that what it defines can be found by its name
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def load_check(exercise: Exercise) -> list[Task]:
    """The tasks of an exercise; imports with them what the check needs."""
    return load_exercise(exercise).TASKS


def load_file(path: Path) -> ModuleType:
    """Run a learner's file as a module of its own; exceptions are the learner's and pass through."""
    source = path.read_text(encoding="utf-8-sig")
    linecache.checkcache(str(path))
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: a learner's random.py must not stand in for Python's
    module = ModuleType(f"handed_in_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    code = compile(source, str(path), "exec", dont_inherit=True)
    exec(code, vars(module))
    return module


def forbidden_use(source: str, forbidden: Collection[str]) -> tuple[int, str] | None:
    """The first line that uses what the exercise asks to write, and a sentence about it."""
    tree = ast.parse(source)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Name) and node.id not in own:
            name = node.id
        elif isinstance(node, ast.ImportFrom | ast.Import):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            answers = [module for module in modules if module.partition(".")[0] in HOLDS_ANSWERS]
            if answers and answers[0] != "checkpoints_convert.tables":
                return node.lineno, f"line {node.lineno} imports {answers[0]}, where the answer lies"
        if name in forbidden:
            return node.lineno, f"line {node.lineno} uses {name}, which is what this exercise asks you to write"
    return None
