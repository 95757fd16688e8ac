"""What a lesson's run uses of the project: the definitions that it executes, what these read, and the files it opens.

Python tells a trace function of each call. A function that is called while its module is imported counts only when the
statement of the module that called it is read. Names that a definition reads are followed in the code (`definitions`);
what it asks of a module object (`module.TABLE`) is noted when it asks.
"""

import ast
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from lessons.book.definitions import ERROR_TEXT, Definitions, Place, Used, chains, imports
from lessons.book.text import ROOT, fingerprint

IGNORED_FOLDERS = {
    "my",
    "tour",
    "runs",
    "site",
    "build",
    "dist",
    "outputs",
    "__pycache__",
    "site-packages",
    "node_modules",
}
DRAWN_WITH = ("diagrams", "figures")  # of lessons/book: what lessons call; the rest only records them
LEAST_SHOWN = 12  # letters of an error's text that make it known in an output
Line = tuple[str, int]  # a file from the root and a line of it


def own_file(name: str) -> str | None:
    """A file of the project from its root, with forward slashes; None for another's, a hidden one or what is made."""
    path = Path(name).resolve()
    if not path.is_relative_to(ROOT) or not path.is_file() or path.suffix in (".pyc", ".so"):
        return None
    place = path.relative_to(ROOT)
    hidden = place.parts[0] in IGNORED_FOLDERS or any(p.startswith(".") or p == "__pycache__" for p in place.parts)
    book = place.parts[:2] == ("lessons", "book") and place.stem not in DRAWN_WITH
    return None if hidden or book else place.as_posix()


class Trace:
    """Notes what runs from `start` on."""

    def __init__(self, lesson: Path):
        self.lesson = own_file(str(lesson))
        self.files: dict[str, str | None] = {}
        self.done: dict[int, CodeType] = {}  # by id: a code object is kept, so that its id stays its own
        self.ran: set[tuple[str, str, int]] = set()  # file, qualified name and first line of a function
        self.ran_for: dict[Line, set[tuple[str, str, int]]] = {}  # the same, by the line of a module that called it
        self.asked: set[Place] = set()
        self.opened: set[str] = set()

    def start(self) -> None:
        threading.settrace(self)
        sys.settrace(self)
        _watch_opening(self)

    def stop(self) -> None:
        kept = sys.gettrace() is self
        threading.settrace(None)  # type: ignore[arg-type]
        sys.settrace(None)
        if not kept:
            raise RuntimeError("something in the lesson has put its own trace function in place of the recorder's")

    def file(self, name: str) -> str | None:
        if name not in self.files:
            self.files[name] = own_file(name)
        return self.files[name]

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if id(code) in self.done:
            return
        file = self.file(code.co_filename)
        caller = self.importing(frame) if file and code.co_name != "<module>" else None
        if caller is None:
            self.done[id(code)] = code
        if file is None or file == self.lesson:
            return
        if code.co_name == "<module>":
            self.watch(frame.f_globals["__name__"])
            return
        (self.ran if caller is None else self.ran_for.setdefault(caller, set())).add(
            (file, code.co_qualname, code.co_firstlineno)
        )

    def importing(self, frame: FrameType | None) -> Line | None:
        """The line of a project's module that is being imported and called this frame; None in a running lesson."""
        while frame is not None:
            if frame.f_code.co_name == "<module>" and (file := self.file(frame.f_code.co_filename)):
                return None if file == self.lesson else (file, frame.f_lineno)
            frame = frame.f_back
        return None

    def watch(self, name: str) -> None:
        """Note which names of a module are asked for while the lesson runs."""
        if (module := sys.modules.get(name)) is not None and type(module) is ModuleType:
            module.__class__ = _watched(self)

    def ask(self, module: str | None, name: str, frame: FrameType) -> None:
        if module and not name.startswith("__") and self.file(frame.f_code.co_filename):
            place = self.file(module)
            if place and Place(place, name) not in self.asked and self.importing(frame) is None:
                self.asked.add(Place(place, name))

    def opens(self, name: str) -> None:
        """A file was opened for reading. Code counts when it runs; its text counts only for a lesson that reads it
        itself: neither for an import or a warning, nor for what looks through a folder."""
        frame: FrameType | None = sys._getframe(1) if name.endswith(".py") else None
        while frame is not None:
            if frame.f_globals.get("__name__") in ("importlib._bootstrap", "traceback", "warnings"):
                return
            if (file := self.file(frame.f_code.co_filename)) and file != self.lesson:
                return
            frame = None if file else frame.f_back
        self.opened.add(name)

    # ------------------------------------------------------------ what to keep
    def used(self, shown: str) -> Used:
        """Each file that was read and each definition that ran or was read, with its hash; `shown` is what the lesson
        shows."""
        whole = {place for name in self.opened if (place := own_file(name))} | {str(self.lesson)}
        found = Definitions(ROOT, {})
        for file, name, line in self.ran:
            _note(found, file, name, line, whole)
        while _grow(found, self, whole):
            pass
        _note_errors(found, shown)
        found.used |= {file: fingerprint(ROOT / file) for file in whole}
        kept: Used = {}
        for file, known in sorted(found.used.items()):
            hashes = {name: str(found.hash(Place(file, name))) for name in sorted(known)} if file not in whole else {}
            kept[file] = hashes or known
        return kept


def _note(found: Definitions, file: str, name: str, line: int, whole: set[str]) -> None:
    """A function that ran, as the definition that holds it; a file in which it cannot be found counts whole."""
    source = found.source(file)
    name = name.partition(".<locals>")[0].removesuffix("<lambda>").removesuffix(".")
    names = [name] if source and source.kind(name) else source.at(line) if source and name[:1] in ("", "<") else []
    if not names:
        whole.add(file)
    for one in names:
        _add(found.used, Place(file, one))


def _add(used: Used, place: Place) -> bool:
    """Whether this definition, or a class around it, is new."""
    known = used.setdefault(place.file, {})
    assert isinstance(known, dict)
    parts = place.name.split(".")
    names = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    new = names - known.keys()
    known.update(dict.fromkeys(new, ""))
    return bool(new)


def _grow(found: Definitions, trace: Trace, whole: set[str]) -> bool:
    """Add what the definitions known so far read, and what ran at import for them; whether there was anything new."""
    for_import: dict[Place, set[tuple[str, str, int]]] = {}
    for (file, line), functions in trace.ran_for.items():
        source = found.source(file)
        for name in source.at(line) if source else []:
            for_import.setdefault(Place(file, name), set()).update(functions)
    ran_at_import = {Place(f, name.partition(".<locals>")[0]) for ran in trace.ran_for.values() for f, name, _ in ran}
    known = [Place(file, name) for file, names in found.used.items() for name in names]
    reads = _asked(found, trace) | _lesson_reads(found, str(trace.lesson))
    for place in known:
        reads |= found.reads(place)
        for file, name, line in for_import.get(place, ()):
            _note(found, file, name, line, whole)
    for place in reads:
        counts = found.kind(place) in ("data", "class") or place in ran_at_import
        if counts and trace.file(str(ROOT / place.file)):
            _add(found.used, place)
    return sum(map(len, found.used.values())) > len(known)


def _asked(found: Definitions, trace: Trace) -> set[Place]:
    """What modules were asked for by name. Whoever looks through a folder asks every module there: one with functions
    of which none ran was only passed by."""
    ran = {file for file, _, _ in trace.ran}
    data = {place for place in trace.asked if found.kind(place) == "data"}
    return {place for place in data if place.file in ran or not found.holds_functions(place.file)}


def _lesson_reads(found: Definitions, lesson: str) -> set[Place]:
    """What the lesson's own cells name of the project."""
    tree = ast.parse((ROOT / lesson).read_text("utf-8"))
    inside = dict(pair for part in ast.walk(tree) for pair in imports(part))
    places = {found.find(f"{inside[root]}.{rest}".rstrip(".")) for root, _, rest in
              (chain.partition(".") for chain in chains([tree])) if root in inside}  # fmt: skip
    return {place for place in places if place}


def _note_errors(found: Definitions, shown: str) -> None:
    """Add the texts of errors that the lesson shows; all others may be reworded."""
    shown = " ".join(shown.split())
    for file, known in found.used.items():
        assert isinstance(known, dict)
        for name in list(known):
            texts = found.texts(Place(file, name))
            pieces = [part.value for text in texts for part in ast.walk(text) if isinstance(part, ast.Constant)]
            pieces = [" ".join(piece.split()) for piece in pieces if isinstance(piece, str)]
            if any(len(piece) >= LEAST_SHOWN and piece in shown for piece in pieces):
                known[name + ERROR_TEXT] = ""


def _watched(trace: Trace) -> type[ModuleType]:
    class Watched(ModuleType):
        """A module that tells which of its names are asked for."""

        def __getattribute__(self, name: str) -> Any:
            get = super().__getattribute__
            trace.ask(get("__dict__").get("__file__"), name, sys._getframe(1))
            return get(name)

    return Watched


def _watch_opening(trace: Trace) -> None:
    """Note every file that is opened for reading; safetensors opens its files outside Python and is wrapped."""

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike) and "r" in (arguments[1] or "r"):
            trace.opens(os.fspath(arguments[0]))

    sys.addaudithook(hook)
    try:
        import safetensors
    except ImportError:
        return
    original: Callable[..., Any] = safetensors.safe_open

    def safe_open(filename: Any, *arguments: Any, **named: Any) -> Any:
        trace.opened.add(os.fspath(filename))
        return original(filename, *arguments, **named)

    safetensors.safe_open = safe_open  # type: ignore[assignment]
