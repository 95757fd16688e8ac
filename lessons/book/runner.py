"""Run one lesson cell by cell and record what it prints, draws and shows; `lessons.book` starts this in a process of
its own.

python -m lessons.book.runner lessons/2_transformers/03_vit.py FOLDER    writes FOLDER/record.json and the figures
python -m lessons.book.runner --compare OLD_FOLDER NEW_FOLDER       exit 1 when two recordings say different things
"""

import ast
import contextlib
import io
import json
import math
import os
import re
import sys
import traceback
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lessons.book.text import ROOT, Cell, read_cells
from lessons.book.tracing import Trace

LARGEST_FIGURE = 600_000  # bytes; the repository keeps every figure
STYLE = {
    "figure.figsize": (6.4, 3.2),
    "savefig.dpi": 144,
    "savefig.bbox": "tight",
    "savefig.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlepad": 6,
    "axes.edgecolor": "#5b6270",
    "axes.labelcolor": "#2a2f3a",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#e3e3de",
    "legend.frameon": False,
    "image.cmap": "viridis",
    "lines.linewidth": 1.8,
}
COLOURS = ["#3b6ea8", "#b4531a", "#3f7d4e", "#7d4a86", "#a07a1c", "#808890"]


class Recorder:
    """Collects the outputs of one cell in their order: text, figures, drawings and tables."""

    def __init__(self, out: Path):
        self.out, self.outputs, self.buffer, self.number = out, [], io.StringIO(), 0

    def begin(self, number: int) -> None:
        self.number, self.outputs = number, []

    def write(self, text: str) -> int:
        return self.buffer.write(text)

    def flush(self) -> None:
        """File-like; the text is taken in `take_text`."""

    def isatty(self) -> bool:
        return False

    def take_text(self) -> None:
        text, self.buffer = self.buffer.getvalue(), io.StringIO()
        if not text.strip():
            return
        text = _without_places(text).rstrip() + "\n"
        if self.outputs and list(self.outputs[-1]) == ["text"]:
            self.outputs[-1]["text"] += text
        else:
            self.outputs.append({"text": text})

    def file(self, suffix: str) -> str:
        kept = sum("file" in output for output in self.outputs)
        return f"cell{self.number:02d}{'abcdefghijklmnop'[kept]}{suffix}"

    def show(self, thing: Any) -> None:
        """Record a value as a notebook would: drawing, table, picture, else its repr."""
        self.take_text()
        if hasattr(thing, "_repr_svg_"):
            name = self.file(".svg")
            (self.out / name).write_text(thing._repr_svg_() + "\n", "utf-8")
            self.outputs.append({"file": name})
        elif hasattr(thing, "_repr_markdown_"):
            self.outputs.append({"markdown": thing._repr_markdown_(), "text": repr(thing) + "\n"})
        elif hasattr(thing, "_repr_png_"):
            name = self.file(".png")
            thing.save(self.out / name, optimize=True)
            self.outputs.append({"file": name})
        else:
            self.buffer.write(repr(thing) + "\n")

    def take_figures(self) -> None:
        """Save and close every open matplotlib figure, in place of `plt.show` and at the end of a cell."""
        import matplotlib.pyplot as plt

        self.take_text()
        for number in plt.get_fignums():
            name = self.file(".png")
            plt.figure(number).savefig(self.out / name, metadata={"Software": None}, pil_kwargs={"optimize": True})
            self.outputs.append({"file": name})
        plt.close("all")


def record(lesson: Path, out: Path) -> None:
    """Run a lesson from the repository root and write `out`/record.json with its outputs and what they depend on."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    _prepare_matplotlib()
    trace, recorder = Trace(lesson), Recorder(out)
    trace.start()
    import matplotlib.pyplot as plt

    from lessons.book import diagrams  # here, so that the trace knows it

    diagrams.recorder = recorder.show

    plt.switch_backend("Agg")
    plt.show = lambda *_, **__: recorder.take_figures()
    main = types.ModuleType("__main__")
    main.__file__ = str(lesson)
    sys.modules["__main__"], sys.argv = main, [str(lesson)]
    cells, values = [], {}
    pending: list[str] = []
    for number, cell in enumerate(read_cells(lesson.read_text("utf-8"))):
        if cell.kind == "text":
            pending += cell.values
        else:
            recorder.begin(number)
            _run_cell(cell, str(lesson), main.__dict__, recorder)
            cells.append(recorder.outputs)
        pending = [text for text in pending if not _evaluate(text, main.__dict__, values)]
    for text in pending:
        values[text] = eval(_formatted(text), main.__dict__)  # its NameError is the message
    trace.stop()
    _check_sizes(out)
    made = {"python": ".".join(map(str, sys.version_info[:2])), "torch": _version("torch")}
    shown = "\n".join([*values.values(), *(text for cell in cells for output in cell for text in output.values())])
    content = {"with": made, "used": trace.used(shown), "values": values, "cells": cells}
    (out / "record.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _prepare_matplotlib() -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=COLOURS)


def _run_cell(cell: Cell, file: str, space: dict, recorder: Recorder) -> None:
    """Run one cell; the value of a last expression is shown, open figures are taken at its end."""
    tree = ast.parse(cell.body, file)
    ast.increment_lineno(tree, cell.line - 1)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(recorder):  # type: ignore[type-var]
        exec(compile(tree, file, "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), file, "eval"), space)
            if value is not None:
                recorder.show(value)
    recorder.take_figures()


def _formatted(text: str) -> str:
    return 'f"""{' + text + '}"""'


def _evaluate(text: str, space: dict, values: dict[str, str]) -> bool:
    """Format `{=text}` as soon as its names exist, so that a question may ask for a value computed further down."""
    try:
        values[text] = eval(_formatted(text), space)
    except NameError:
        return False
    return True


def _without_places(text: str) -> str:
    """No folder of this machine on a page."""
    return text.replace(str(ROOT) + os.sep, "").replace(str(ROOT), ".").replace(str(Path.home()), "~")


def _check_sizes(out: Path) -> None:
    for file in out.iterdir():
        if file.stat().st_size > LARGEST_FIGURE:
            raise SystemExit(
                f"{file.name} has {file.stat().st_size:,} bytes; draw it smaller (at most {LARGEST_FIGURE:,})"
            )


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except Exception:
        return ""


# ---------------------------------------------------------------- comparing two recordings
def differences(old: dict, new: dict, tolerance: float = 0.02) -> list[str]:
    """Where two records say different things: other words, or numbers further apart than `tolerance` (relative)."""
    found = []
    for key in {**old["values"], **new["values"]}:
        before, after = (str(record["values"].get(key)) for record in (old, new))
        if not _alike(before, after, tolerance):
            found.append(f"{{={key}}}: {before} / {after}")
    if len(old["cells"]) != len(new["cells"]):
        return [*found, f"{len(old['cells'])} cells / {len(new['cells'])} cells"]
    for number, (ours, theirs) in enumerate(zip(old["cells"], new["cells"])):
        if [sorted(output) for output in ours] != [sorted(output) for output in theirs]:
            found.append(f"cell {number}: other kinds of output")
            continue
        for one, two in zip(ours, theirs):
            for before, after in zip(one.get("text", "").splitlines(), two.get("text", "").splitlines()):
                if not _alike(before, after, tolerance):
                    found.append(f"cell {number}: {before.strip()} / {after.strip()}")
    return found


def _alike(one: str, two: str, tolerance: float) -> bool:
    number = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
    if re.sub(number, "#", one) != re.sub(number, "#", two):
        return False
    pairs = zip(re.findall(number, one), re.findall(number, two))
    return all(math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=1e-9) for a, b in pairs)


def main(arguments: list[str]) -> int:
    if arguments[0] == "--compare":
        old, new = (json.loads((Path(folder) / "record.json").read_text("utf-8")) for folder in arguments[1:])
        found = differences(old, new)
        print("\n".join(found) or "the two recordings agree")
        return bool(found)
    lesson = Path(arguments[0]).resolve()
    try:
        record(lesson, Path(arguments[1]).resolve())
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
        lines = "".join(traceback.format_list(frames[:1] + frames[1:][-4:]))
        print(f"{lesson.name} stopped:\n{lines}{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
