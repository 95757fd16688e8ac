"""The exercises: one file each, in the folder beside their lesson's script, which gives them their number.

    lessons/2_transformers/01_attention.py                 lesson 2.1
    lessons/2_transformers/01_attention/2_attention.py     exercise 2.1.2

A file's docstring is the task; what a learner may need is imported behind it. Then come sections:

    # %% given       only where a bug is to be found: the functions as the learner gets them, wrong on purpose
    # %% solution    our code
    # %% check       random cases, the reference, known mistakes, TASKS
    # %% hints       HINTS: (symptom, text) pairs, in the order to give them

The learner's file, ex_2_1_2_attention.py, is made of the beginning and what is given, or of the solution's signatures.
`catalogue()` reads first lines only and the rest waits until it is asked for; nothing is imported, so that pages and
tables are made without torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

FOLDER = Path(__file__).parents[1]
PLACE = re.compile(r"(?P<part>\d+)_\w+/(?P<chapter>\d+)_\w+/(?P<place>\d+)_(?P<name>\w+)\.py")
HEADER = re.compile(r'"""(?P<title>.+?) +\((?P<minutes>\d+) minutes, difficulty (?P<difficulty>[1-5]) of 5\)\s*')
SECTION = re.compile(r"^# %% (\w+).*\n", re.M)


@dataclass(frozen=True)
class Exercise:
    """One exercise as its file describes it.

    number: "2.1.2". name: "attention". minutes: how long it takes. difficulty: 1 to 5. file: where it is written.
    """

    number: str
    name: str
    title: str
    minutes: int
    difficulty: int
    file: Path

    @property
    def lesson(self) -> str:
        """The number of its lesson: "2.1"."""
        return self.number.rpartition(".")[0]

    @property
    def stub_name(self) -> str:
        """How the learner's file is called."""
        return f"ex_{self.number.replace('.', '_')}_{self.name}.py"

    @cached_property
    def sections(self) -> dict[str, str]:
        """The file's text by section; what stands before the first is called "task"."""
        first, *pieces = SECTION.split(self.file.read_text(encoding="utf-8"))
        return {"task": first, **dict(zip(pieces[::2], pieces[1::2], strict=True))}

    @cached_property
    def task(self) -> str:
        """What is to be done, as plain text."""
        docstring = ast.get_docstring(ast.parse(self.sections["task"])) or ""
        return docstring.partition("\n")[2].strip()

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """What the learner writes: the names of the tasks."""
        calls = [node for node in ast.walk(ast.parse(self.sections["check"])) if isinstance(node, ast.Call)]
        tasks = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Task"]
        return tuple(ast.literal_eval(call.args[0]) for call in tasks)

    @cached_property
    def hints(self) -> tuple[tuple[str, str], ...]:
        """(symptom, text) pairs."""
        assignment = ast.parse(self.sections["hints"]).body[0]
        return tuple(ast.literal_eval(assignment.value))  # type: ignore[attr-defined]

    @property
    def find_the_bug(self) -> bool:
        """Whether the learner's file is whole but wrong."""
        return "given" in self.sections

    @cached_property
    def solution(self) -> str:
        """Our code, without the docstrings that the learner's file has."""
        lines = self.sections["solution"].splitlines()
        for node in reversed(ast.parse(self.sections["solution"]).body):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
                del lines[node.body[0].lineno - 1 : node.body[0].end_lineno]
        return "\n".join(lines).strip()

    @cached_property
    def stub(self) -> str:
        """What the learner's file holds at the start."""
        task = self.sections["task"].rstrip().replace('"""', f'"""{self.number}  ', 1)
        code = self.sections["given"].strip() if self.find_the_bug else "\n\n\n".join(self._unwritten())
        return f"{task}\n\n{code}\n" if code.startswith("TABLE") else f"{task}\n\n\n{code}\n"

    def _unwritten(self) -> Iterator[str]:
        """The solution's functions down to their docstrings; of a table its name."""
        lines = self.sections["solution"].splitlines()
        for node in ast.parse(self.sections["solution"]).body:
            if isinstance(node, ast.FunctionDef) and node.name in self.functions:
                yield "\n".join([*lines[node.lineno - 1 : node.body[0].end_lineno], "    raise NotImplementedError"])
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in self.functions:
                yield f"{ast.unparse(node.targets[0])} = []"


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Exercise]:
    """All exercises by number, in the order of the book."""
    found = [read_exercise(file) for file in FOLDER.glob("[0-9]*_*/[0-9]*_*/[0-9]*_*.py")]
    return {exercise.number: exercise for exercise in sorted(found, key=lambda e: order(e.number))}


def of_lesson(lesson: str) -> list[Exercise]:
    """The exercises of one lesson."""
    return [exercise for exercise in catalogue().values() if exercise.lesson == lesson]


def order(number: str) -> tuple[int, ...]:
    """Sort key: 2.10 comes after 2.9."""
    return tuple(int(part) for part in number.split("."))


def read_exercise(file: Path) -> Exercise:
    """Number and name from the path, the rest from the first line."""
    place = PLACE.fullmatch("/".join(file.parts[-3:]))
    with open(file, encoding="utf-8") as lines:
        header = HEADER.fullmatch(lines.readline())
    if place is None or header is None:
        wanted = '2_name.py, and its first line """Title  (10 minutes, difficulty 2 of 5)'
        raise ValueError(f"{file}: an exercise is called {wanted}")
    number = ".".join(str(int(place[part])) for part in ("part", "chapter", "place"))
    return Exercise(number, place["name"], header["title"], int(header["minutes"]), int(header["difficulty"]), file)
