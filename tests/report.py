"""Measure every model beside every reference and write the figures down: python -m tests.report

Writes `docs/data/parity.json` (the book's parity report is made from it) and the table in README.md. A library's row is
the largest difference over three draws of all weights of the tiny configuration; a golden row, over the copied cases.
"""

import argparse
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from checkpoints_convert.proof.compare import TOLERANCE, Comparison
from checkpoints_convert.proof.references import Reference, all_references
from checkpoints_convert.proof.verify import beside
from lessons.book.reference import code_lines
from minimodels.errors.aside import write_aside
from minimodels.stored.classes import model_class
from tests.golden import Line, read_case, run_case, system_module

ROOT = Path(__file__).resolve().parents[1]
JSON, README = ROOT / "docs" / "data" / "parity.json", ROOT / "README.md"
GOLDEN = ROOT / "tests" / "golden"
BEGIN, END = "<!-- parity:begin -->", "<!-- parity:end -->"
COMMAND = "python -m tests.report"
SEEDS = 3
GPU = ("cuda_float64", "cuda_float32", "cuda_bfloat16")  # the largest differences on a GPU, in these number formats
NOT_RUN = "not run yet"  # what a table says of a figure that needs a GPU, until there was one
Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """One row to be measured."""

    model: str
    reference: str
    measure: Callable[[str], Row]
    file: str | None = None  # of a row that is about no model class: the file whose lines are counted

    @property
    def name(self) -> str:
        return f"{self.model} beside {self.reference}"


def sources() -> list[Source]:
    """Every row of the table: systems in the order of the alphabet, then what is no model, then what is golden alone.

    A new reference or golden case brings its own; so does a file `tests/<folder>/report_rows.py`, whose `ROWS` are
    (model, reference, function -> what differs and of how much, file whose lines are counted or None).
    """
    found = [Source(r.model, r.library, partial(library_row, r)) for r in all_references()]
    for path in sorted((ROOT / "tests").glob("*/report_rows.py")):
        for model, reference, find, file in importlib.import_module(f"tests.{path.parent.name}.report_rows").ROWS:
            found.append(Source(model, reference, partial(exact_row, find), file))
    golden: dict[str, list[Path]] = {}
    for path in sorted(GOLDEN.glob("*/*/config.json")):
        if (model := golden_model(path.parent)) is not None:
            golden.setdefault(model, []).append(path.parent)
    found += [Source(model, "golden", partial(golden_row, model, folders)) for model, folders in golden.items()]
    order = list(dict.fromkeys(source.model for source in found))
    return sorted(found, key=lambda source: (order.index(source.model), source.reference == "golden"))


def gpu_at_hand() -> str:
    """The device that the GPU's columns are measured on; empty where torch sees none."""
    return "cuda" if torch.cuda.is_available() else ""


def measure(only: str = "", gpu: str = "") -> dict[str, Any]:
    """The content of parity.json; with `only`, rows without this text in their name stay as they were written.

    Args:
        only: a part of the names of the rows to measure.
        gpu: where the GPU's columns are measured. Without one, what was measured on one earlier stays.
    """
    before = {(row["model"], row["reference"]): row for row in json.loads(JSON.read_text())["rows"]}
    kept = before if only else {}
    rows = []
    for source in sources():
        if only.lower() in source.name.lower():
            print(source.name, file=sys.stderr, flush=True)
            about = {"model": source.model, "reference": source.reference}
            old = before.get((source.model, source.reference), {})
            earlier = {key: old.get(key, NOT_RUN) for key in GPU}
            rows.append({**about, **earlier, **source.measure(gpu), "lines": lines_of(source.model)})
        elif (source.model, source.reference) in kept:
            rows.append(kept[source.model, source.reference])
    return {"command": COMMAND, "versions": versions({row["reference"] for row in rows}), "rows": rows}


def versions(references: set[str]) -> dict[str, str]:
    """Of torch, pillow and every reference that is an installed library (a golden case is none)."""
    known = importlib.metadata.packages_distributions()
    names = sorted({known[name][0] for name in references | {"torch", "PIL"} if name in known}, key=str.lower)
    return {name.lower(): importlib.metadata.version(name) for name in names}


# ---------------------------------------------------------------- rows

NO_LOWER = {"cuda_float32": None, "cuda_bfloat16": None}  # golden numbers are float64's


def library_row(reference: Reference, gpu: str = "") -> Row:
    """Our model beside a library's, several draws; on a GPU too where there is one."""
    comparisons = [beside(reference, reference.tiny, seed=seed) for seed in range(SEEDS)]
    there = [beside(reference, reference.tiny, seed=seed, device=gpu) for seed in range(SEEDS)] if gpu else []
    kinds = {"output": "output", "blocks": "block", "gradients": "gradient", "float32": "float32"}
    largest = {key: max(comparison.largest(kind) for comparison in comparisons) for key, kind in kinds.items()}
    return {"what": f"tiny, {SEEDS} draws of all weights", **largest, **gpu_figures(there)}


def gpu_figures(there: list[Comparison]) -> Row:
    """The columns of a GPU: everything in float64, the outputs in the other formats; nothing where nothing ran."""
    if not there:
        return {}
    every = max(one.largest(kind) for one in there for kind in ("output", "block", "gradient"))
    lower = {f"cuda_{kind}": max(one.largest(kind) for one in there) for kind in ("float32", "bfloat16")}
    return {"cuda_float64": every, **lower}


def golden_model(folder: Path) -> str | None:
    """Which row a golden case belongs to; key lists have none.

    A system's module may say it (`ROWS = {case: model}`); else a case with weights belongs to the system's first model,
    and one without has a row of its own.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["kind"] == "keys":
        return None
    told = getattr(system_module(config["system"]), "ROWS", {})
    if folder.name in told:
        return told[folder.name]
    names = [reference.model for reference in all_references() if reference.system == config["system"]]
    model = names[0] if names else config["system"].upper()
    return model if (folder / "keys.json").exists() else f"{model} {config['kind'].replace('_', ' ')}"


def golden_row(model: str, folders: list[Path], gpu: str = "") -> Row:
    """The official numbers: what a model answers, what lies inside it, and what was computed or stored in float32.

    A system's module may say what lies inside (`is_inside`), and hold gradients against finite differences
    (`gradients`) where no library has the model.
    """
    module = system_module(read_case(folders[0]).config["system"])
    hidden, inside, outputs, low, there = getattr(module, "is_inside", is_inside), [], [], [], []
    differences = module.gradients() if hasattr(module, "gradients") else None
    for folder in folders:
        case = read_case(folder)
        with torch.no_grad():
            lines = run_case(case)
        if wrong := [str(line) for line in lines if line.ok is False]:
            raise SystemExit("\n".join([f"{model} does not give the official numbers:", *wrong]))
        if gpu:
            with torch.no_grad():
                there += run_case(case, gpu)
        for line in lines:
            single = line.name in case.arrays and case.arrays[line.name].dtype == np.float32
            (low if single or line.ok is None else inside if hidden(line.name) else outputs).append(line)
    held = "" if differences is None else f"; gradients against finite differences, {differences:.0e} apart at most"
    return {
        "what": f"official numbers: {', '.join(folder.name for folder in folders)}{held}",
        **({} if differences is None else {"differences": differences}),
        "output": largest(outputs, exact=0.0),
        "blocks": largest(inside),
        "gradients": None,
        "float32": largest(low),
        **({"cuda_float64": largest([line for line in there if line.ok is not None], exact=0.0)} if gpu else {}),
        **NO_LOWER,
    }


def is_inside(name: str) -> bool:
    """`out.visual.block0` lies inside the model, `out.image_features` is an answer."""
    return any(word in name for word in ("block", "layer", "stem", "ln_", "norm", "act", "tokens", "stage"))


def largest(lines: list[Line], exact: float | None = None) -> float | None:
    """The largest distance; `exact` where only whole numbers were compared (all of them equal)."""
    distances = [line.distance for line in lines if line.distance is not None]
    return max(distances, default=exact if lines else None)


def exact_row(find: Callable[[], tuple[list[str], str]], gpu: str = "") -> Row:
    """A row where only equality counts; it has nothing to do on a GPU."""
    wrong, what = find()
    if wrong:
        raise SystemExit(f"{len(wrong)} differ: {'; '.join(wrong[:5])}")
    figures = {"output": 0.0, "blocks": None, "gradients": None, "float32": None}
    return {"what": what, **figures, **NO_LOWER, "cuda_float64": None}


@cache
def lines_of(model: str) -> int | None:
    """Lines of code of a model's file: of the class that the reference's converter builds, or of the class so named."""
    cls, file = model_class(model), next((source.file for source in sources() if source.model == model), None)
    for reference in all_references():
        if reference.model == model:
            with torch.device("meta"):
                empty = reference.build(**reference.tiny)
            cls = type(reference.ours(empty, reference.tiny))
    if cls is not None:
        file = f"{cls.__module__.replace('.', '/')}.py"
    return code_lines((ROOT / file).read_text(encoding="utf-8")) if file else None


# ---------------------------------------------------------------- the table in the README


def markdown(data: dict[str, Any]) -> str:
    """The table, one row a model and reference."""
    head = ["model", "reference", "output", "blocks", "gradients", "output in float32", "lines of code"]
    table = [head, [":--", ":--", *["--:"] * 5]]
    for row in data["rows"]:
        numbers = [row[key] for key in ("output", "blocks", "gradients", "float32")]
        cells = ["" if number is None else "equal" if number == 0 else f"{number:.0e}" for number in numbers]
        if "differences" in row:  # no library has the model: its gradients beside finite differences
            cells[2] = f"{row['differences']:.0e} (differences)"
        table.append([row["model"], row["reference"], *cells, str(row["lines"] or "")])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table)


def put_into_readme(text: str, table: str) -> str:
    """The README with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write both files; 1 where something differs by more than it may."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="measure again the rows whose name contains this text")
    data = measure(parser.parse_args(arguments).only, gpu_at_hand())
    with write_aside(JSON) as aside:
        aside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    README.write_text(put_into_readme(README.read_text(encoding="utf-8"), markdown(data)), encoding="utf-8")
    print(markdown(data))
    print(f"written: {JSON.relative_to(ROOT)}, the table in README.md")
    judged = [
        row[key] for row in data["rows"] for key in ("output", "blocks", "gradients", "cuda_float64") if key in row
    ]
    worst = max(figure for figure in judged if isinstance(figure, float))
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
