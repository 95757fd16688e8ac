"""What counts of a run and of code, on a small project: each definition that ran, and nothing beside it."""

import shutil
import subprocess
import sys

import pytest

from lessons.book import text
from lessons.book.definitions import Definitions, Place, Source, shape
from lessons.book.text import fingerprint, read_lesson
from tests.site.copies import change, look_at, why_stale, write

LESSON = '''"""A small lesson

minutes: 3
"""

# %%
import threading
from pathlib import Path

from small import parts, scan
from small.parts import KINDS, Pair, refuse

print(KINDS["Adder"]().run(2), Pair(1), scan.load("one"), parts.SEVEN, parts.seven())
worker = threading.Thread(target=parts.in_a_thread)
worker.start()
worker.join()
print(Path("data.txt").read_text(), len(Path("small/read.py").read_text()))

# %% [markdown]
# Some prose.

# %%
try:
    refuse(3)
except ValueError as error:
    print(error)
try:
    parts.refuse_in_silence(3)
except ValueError:
    print(parts.registered(1))
'''
FILES = {
    "data.txt": "data",
    "small/__init__.py": "",
    "small/read.py": "\n",
    "small/numbers.py": "FACTOR = 2\nOTHER = 3\n\n\ndef half(x):\n    return x / 2\n",
    "small/registry.py": "KNOWN = []\n\n\ndef register(f):\n    KNOWN.append(f)\n    return f\n\n\n"
    "class Next:\n    def to(self, n):\n        return n + 1\n\n\ndef make(n):\n    return Next().to(n)\n",
    "small/scan.py": "import importlib\nfrom pathlib import Path\n\n\ndef load(name):\n"
    "    files = sorted(Path('small/plugins').glob('[!_]*.py'))\n"
    "    names = [file.stem for file in files if 'SYSTEM' in file.read_text()]\n"
    "    found = [importlib.import_module(f'small.plugins.{name}') for name in names]\n"
    "    known = {one.SYSTEM['name']: one for one in found}\n"
    "    return getattr(known[name], known[name].SYSTEM['maker'])().make()\n",
    "small/plugins/__init__.py": "",
    "small/plugins/one.py": "SIZE = 3\n\n\nclass Maker:\n    more = 1\n\n    def make(self):\n"
    "        return [SIZE + self.more]\n\n\nSYSTEM = {'name': 'one', 'maker': 'Maker'}\n",
    "small/plugins/two.py": "def make():\n    return [5]\n\n\nSYSTEM = {'name': 'two', 'maker': 'make'}\n",
    "small/parts.py": '''"""Parts."""

from dataclasses import dataclass
from functools import cache

from small.numbers import FACTOR, OTHER, half
from small.registry import make, register

LIMIT = 3


class Base:
    """A base."""

    step = 1

    def run(self, x: int) -> int:
        """Runs."""
        if x < 0:
            raise ValueError(f"a number below zero that nobody sees: {x}")
        return self.inner(x)

    def inner(self, x):
        return x

    def spare(self):
        return half(OTHER)


class Adder(Base):
    def inner(self, x):
        return helper(x) + self.step


class Idle(Base):
    def inner(self, x):
        return 0


class Spare(Base):
    pass


@dataclass
class Pair:
    left: int
    right: int = LIMIT


def helper(x):
    return [y * FACTOR for y in [x]][0]


def idle(x):
    return x


KINDS = {cls.__name__: cls for cls in (Adder, Idle)}
KINDS["Spare"] = Spare
NINE = make(8)
SEVEN = make(6)


@cache
def seven():
    return 7


ONCE = seven()


@register
def registered(x):
    return x


def in_a_thread():
    return 1


def refuse(x):
    raise ValueError(f"the lesson shows this text: {x}")


def refuse_in_silence(x):
    raise ValueError(f"nobody ever reads this text: {x}")
''',
}
PARTS = "small/parts.py"


# ---------------------------------------------------------------- a small project
@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A project with one lesson, recorded once."""
    folder = tmp_path_factory.mktemp("recorded")
    write(folder, FILES | {"lessons/2_transformers/98_small.py": LESSON})
    (folder / "lessons" / "book").mkdir()
    book = ("__init__", "definitions", "diagrams", "runner", "text", "tracing")
    for name in ("__init__.py", *(f"book/{module}.py" for module in book)):
        shutil.copy(text.ROOT / "lessons" / name, folder / "lessons" / name)
    lesson = read_lesson(folder / "lessons" / "2_transformers" / "98_small.py")
    out = folder / "docs" / "outputs" / lesson.key
    out.mkdir(parents=True)
    command = [sys.executable, "-m", "lessons.book.runner", str(lesson.path), str(out)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def small(recorded, tmp_path, monkeypatch):
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    look_at(tmp_path, monkeypatch)
    return tmp_path


def test_a_recording_names_what_ran(small):
    lesson = read_lesson(small / "lessons" / "2_transformers" / "98_small.py")
    record = text.recording(lesson)
    assert record["cells"][0] == [{"text": "5 Pair(left=1, right=3) [4] 7 7\ndata 1\n"}]
    used = {file: known if isinstance(known, str) else sorted(known) for file, known in record["used"].items()}
    assert used.pop("data.txt") == fingerprint(small / "data.txt")
    assert used.pop("small/read.py") == fingerprint(small / "small" / "read.py")
    assert used.pop(lesson.script) == fingerprint(lesson.path)
    assert used.pop(PARTS) == sorted(
        ["Adder", "Adder.inner", "Base", "Base.run", "KINDS", "LIMIT", "Pair", "SEVEN", "helper", "in_a_thread"]
        + ["refuse", "refuse (error text)", "refuse_in_silence", "registered", "seven"]
    )
    assert used.pop("small/numbers.py") == ["FACTOR"]
    assert used.pop("small/registry.py") == ["KNOWN", "Next", "Next.to", "make", "register"]
    assert used.pop("small/scan.py") == ["load"]
    assert used.pop("small/plugins/one.py") == ["Maker", "Maker.make", "SIZE", "SYSTEM"]
    assert used == {}


CHANGED = [  # file, old, new, what is stale
    (PARTS, "helper(x) + self", "helper(x) - self", ["Adder.inner changed"]),
    (PARTS, "[y * FACTOR for", "[y + FACTOR for", ["helper changed"]),
    (PARTS, "step = 1", "step = 2", ["Base changed"]),
    (PARTS, "class Adder(Base):", "class Adder(Idle):", ["Adder changed"]),
    (PARTS, "class Adder(Base):", "class Adder(Base):\n    def run(self, x):\n        return 1\n", ["Adder changed"]),
    (
        PARTS,
        "class Adder(Base):",
        "class Adder(Base):\n    def __repr__(self):\n        return ''\n",
        ["Adder changed"],
    ),
    (PARTS, "left: int\n", "first: int\n", ["Pair changed"]),
    (PARTS, "LIMIT = 3", "LIMIT = 4", ["LIMIT changed"]),
    (PARTS, "    return 7\n", "    return 8\n", ["seven changed"]),
    (PARTS, "make(6)", "make(5)", ["SEVEN changed"]),
    (PARTS, "def in_a_thread():\n    return 1", "def in_a_thread():\n    return 2", ["in_a_thread changed"]),
    (PARTS, "def registered(x):\n    return x", "def registered(x):\n    return -x", ["registered changed"]),
    (PARTS, "@register\n", "", ["registered changed"]),
    (PARTS, "(Adder, Idle)", "(Idle,)", ["KINDS changed"]),
    (PARTS, "the lesson shows this", "the lesson shows another", ["refuse (error text) changed"]),
    (PARTS, "import FACTOR, OTHER", "import OTHER, OTHER as FACTOR", ["helper changed"]),
    (PARTS, "def helper(x)", "def helped(x)", ["helper is gone", "Adder.inner changed"]),
    ("small/numbers.py", "FACTOR = 2", "FACTOR = 3", ["FACTOR changed"]),
    ("small/registry.py", "n + 1", "n + 2", ["Next.to changed"]),
    ("small/registry.py", "KNOWN.append(f)", "KNOWN.insert(0, f)", ["register changed"]),
    ("small/plugins/one.py", "SIZE = 3", "SIZE = 5", ["SIZE changed"]),
    ("small/plugins/one.py", "more = 1", "more = 2", ["Maker changed"]),
    ("small/plugins/one.py", "'Maker'}", "'Other'}", ["SYSTEM changed"]),
]
HARMLESS = [
    (PARTS, '"""Parts."""', '"""Other words."""\n# a comment'),
    (PARTS, '        """Runs."""\n', ""),
    (PARTS, "def run(self, x: int) -> int:", "def run(\n        self, x\n    ) -> 'str | None':"),
    (PARTS, "left: int\n", "left: float\n"),
    (PARTS, "LIMIT = 3", "LIMIT: int = 3"),
    (PARTS, "below zero that nobody sees: {x}", "under zero, {x + 1}, " + "that nobody sees"),
    (PARTS, "nobody ever reads this text: {x}", "nothing"),
    (PARTS, "def inner(self, x):\n        return x\n", "def inner(self, x):\n        return x + 2\n"),
    (PARTS, "return half(OTHER)", "return half(OTHER) + 1"),
    (PARTS, "    def spare(self)", "    def another(self):\n        return 2\n\n    def spare(self)"),
    (PARTS, "def idle(x):\n    return x\n", ""),
    (PARTS, "class Idle(Base):\n", "class Idler(Base):\n    pass\n\n\nclass Idle(Base):\n    unused = 1\n"),
    (PARTS, "(Adder, Idle)", "(Adder, Spare, Idle)"),
    (PARTS, 'KINDS["Spare"] = Spare\n', 'KINDS["Idle"] = Idle\n'),
    (PARTS, "make(8)", "make(9)"),
    ("small/numbers.py", "OTHER = 3", "OTHER = 4"),
    ("small/numbers.py", "x / 2", "x / 3"),
    ("small/plugins/two.py", "[5]", "[6]"),
    ("small/plugins/two.py", "'maker': 'make'", "'maker': 'none'"),
    ("small/scan.py", "import importlib\n", "import importlib\nimport json\n"),
]


@pytest.mark.parametrize("file, old, new, reasons", CHANGED, ids=[f"{i}-{row[3][0]}" for i, row in enumerate(CHANGED)])
def test_what_ran_makes_it_stale(small, file, old, new, reasons):
    change(small, file, old, new)
    assert why_stale(small) == {"2_transformers/98_small": [f"{file}: {reason}" for reason in reasons]}


@pytest.mark.parametrize("file, old, new", HARMLESS, ids=[f"{i}-{row[0]}" for i, row in enumerate(HARMLESS)])
def test_what_did_not_run_changes_nothing(small, file, old, new):
    change(small, file, old, new)
    assert why_stale(small) == {}


def test_one_more_file_in_a_folder_changes_nothing(small):
    write(small, {"small/plugins/three.py": "SYSTEM = {'name': 'three', 'maker': 'list'}\n"})
    assert why_stale(small) == {}


def test_files_that_are_gone_are_named(small):
    (small / "small" / "numbers.py").rename(small / "small" / "figures.py")
    (small / "data.txt").unlink()
    assert why_stale(small) == {"2_transformers/98_small": ["data.txt is gone", "small/numbers.py is gone"]}


# ---------------------------------------------------------------- definitions
def test_hashes_do_not_depend_on_the_python_version(tmp_path):
    """A known value: whoever records with another Python gets it too."""
    code = (
        "import a.b as c\n\n\nclass C(c.D, metaclass=c.M):\n    e: list = [-1, 2.5e3, b'f']\n\n"
        "    @c.b\n    async def f(self, x: int = 1, *, y=None) -> str:\n        async with x as z:\n"
        "            if not x:\n                raise c.E(f'{x} is' 'no', z)\n"
        "            return [f'{x!r:>{y}} {z}' 'and' f\"{q['q']}\" for q in z]\n"
    )
    (tmp_path / "a.py").write_text(code)
    found = Definitions(tmp_path, {})
    known = {"C": "9a121086db4db844", "C.f": "dfbfc5ab991be177", "C.f (error text)": "5e795204fb4a306f"}
    assert {name: found.hash(Place("a.py", name)) for name in known} == known


@pytest.mark.parametrize(
    "one, other, alike",
    [
        ("raise E(f'{a} of {b}')", "raise E('other')", True),
        ("raise E('text' + str(a), 2)", "raise E(wrong('text'), 2)", True),
        ("raise E('text', 2)", "raise E('text', 3)", False),
        ("raise E('text')", "raise F('text')", False),
        ("raise SystemExit(1)", "raise SystemExit(2)", False),
        ("assert a, 'text'", "assert a", True),
        ("assert a", "assert b", False),
        ("print('a')", "print('b')", False),
        ("def f(a: int) -> int: return a", "def f(a): return a", True),
        ("def f():\n a: int\n return 1", "def f():\n return 1", True),
        ("class A:\n a: int = 1", "class A:\n a: float = 1", True),
        ("class A:\n a: int = 1", "class A:\n a: ClassVar[int] = 1", False),
        ("class A:\n a: int\n b: int", "class A:\n b: int\n a: int", False),
    ],
)
def test_what_counts_in_code(one, other, alike):
    assert (shape(Source(one).body) == shape(Source(other).body)) is alike
