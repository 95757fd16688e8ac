"""The exercises: per lesson a folder, per exercise two files.

    lesson_2_1/ex_2_1_2_attention.py       the stub that a learner copies; its docstring is the task
    lesson_2_1/check_2_1_2_attention.py    solution, hints, random cases, reference, known mistakes

`catalogue()` reads both without importing them, so that pages and tables are made without torch.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "exercises"
HEADER = re.compile(
    r"(?P<number>\d+\.\d+\.\d+) +(?P<title>.+?) +\((?P<minutes>\d+) minutes, difficulty (?P<difficulty>[1-5]) of 5\)"
)


@dataclass(frozen=True)
class Exercise:
    """One exercise as its two files describe it.

    number: "2.1.2". lesson: "2.1". name: "attention". minutes: how long it takes. difficulty: 1 to 5. task: plain text.
    functions: what the learner writes. hints: (symptom, text) pairs, in the order to give them. solution: our code.
    find_the_bug: whether the stub is whole but wrong. stub, check: the two files.
    """

    number: str
    title: str
    minutes: int
    difficulty: int
    task: str
    functions: tuple[str, ...]
    hints: tuple[tuple[str, str], ...]
    solution: str
    find_the_bug: bool
    stub: Path
    check: Path

    @property
    def lesson(self) -> str:
        return self.number.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.stub.stem.split("_", 4)[4]


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Exercise]:
    """All exercises by number, in the order of the book."""
    found = [_read(stub) for stub in FOLDER.glob("lesson_*/ex_*.py")]
    return {exercise.number: exercise for exercise in sorted(found, key=lambda e: order(e.number))}


def lesson_titles() -> dict[str, str]:
    """The lessons that have exercises: number and title."""
    titles = {}
    for folder in FOLDER.glob("lesson_*"):
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        number, _, title = docstring.splitlines()[0].partition(" ")
        titles[number] = title.strip().rstrip(".")
    return {number: titles[number] for number in sorted(titles, key=order)}


def of_lesson(lesson: str) -> list[Exercise]:
    """The exercises of one lesson."""
    return [exercise for exercise in catalogue().values() if exercise.lesson == lesson]


def order(number: str) -> tuple[int, ...]:
    """Sort key: 2.10 comes after 2.9."""
    return tuple(int(part) for part in number.split("."))


def _read(stub: Path) -> Exercise:
    stub_text = stub.read_text(encoding="utf-8")
    check = stub.with_name(stub.name.replace("ex_", "check_", 1))
    check_text = check.read_text(encoding="utf-8")
    stub_tree, check_tree = ast.parse(stub_text), ast.parse(check_text)
    docstring = ast.get_docstring(stub_tree) or ""
    first, _, task = docstring.partition("\n")
    header = HEADER.fullmatch(first.strip())
    if header is None:
        raise ValueError(f"{stub.name}: the first line must read '2.1.2  Title  (10 minutes, difficulty 2 of 5)'")
    wanted = [name for name in _defined(stub_tree) if name in _defined(check_tree)]
    return Exercise(
        number=header["number"],
        title=header["title"],
        minutes=int(header["minutes"]),
        difficulty=int(header["difficulty"]),
        task=task.strip(),
        functions=tuple(wanted),
        hints=tuple(ast.literal_eval(_defined(check_tree)["HINTS"].value)),  # type: ignore[attr-defined]
        solution=_solution(check_text, check_tree, wanted),
        find_the_bug="NotImplementedError" not in stub_text and "TABLE = []" not in stub_text,
        stub=stub,
        check=check,
    )


def _defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """What a file defines at its top: functions, classes and assigned names."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
    return found


def _solution(text: str, tree: ast.Module, names: list[str]) -> str:
    """The code of `names` and of the helpers beside them that they call, in the order of the check file."""
    defined, needed = _defined(tree), set[str]()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        needed.add(name)
        used = {node.id for node in ast.walk(defined[name]) if isinstance(node, ast.Name)}
        waiting += [other for other in used & defined.keys() if other not in needed]
    nodes = sorted((defined[name] for name in needed), key=lambda node: node.lineno)
    lines = text.splitlines()
    return "\n\n\n".join("\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in nodes)
