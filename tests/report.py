"""Measure every model beside every reference and write the figures down: python -m tests.report

Writes `docs/data/parity.json` (the book's parity report is made from it) and the table in README.md. A library's row is
the largest difference over three draws of all weights of the tiny configuration; a golden row, over the copied cases.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from checkpoints_convert.proof.compare import TOLERANCE
from checkpoints_convert.proof.references import Reference, all_references
from checkpoints_convert.proof.verify import beside
from lessons.book.reference import code_lines
from minimodels.errors.aside import write_aside
from minimodels.stored import models
from tests.golden import Line, read_case, run_case

ROOT = Path(__file__).resolve().parents[1]
JSON, README = ROOT / "docs" / "data" / "parity.json", ROOT / "README.md"
GOLDEN = ROOT / "tests" / "golden"
BEGIN, END = "<!-- parity:begin -->", "<!-- parity:end -->"
COMMAND = "python -m tests.report"
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "open_clip_torch", "pillow")
SEEDS = 3
Row = dict[str, Any]
FILES = {
    "tokenizer": "words/byte_pair",
    "LAVT": "lavt",
    "Matcher": "matcher",
}  # what no library has, or is no model class: its file in minimodels


@dataclass(frozen=True)
class Source:
    """One row to be measured."""

    model: str
    reference: str
    measure: Callable[[], Row]


def sources() -> list[Source]:
    """Every row of the table, in the order of the systems; a new reference or golden case brings its own."""
    found = [Source(r.model, r.library, partial(library_row, r)) for r in all_references()]
    found += [
        Source("tokenizer", "open_clip", tokenizer_row),
        Source("WordPiece", "transformers", word_piece_row),
        Source("preprocess", "torchvision", partial(pixel_row, "torchvision")),
        Source("preprocess", "transformers", partial(pixel_row, "transformers")),
    ]
    golden: dict[str, list[Path]] = {}
    for path in sorted(GOLDEN.glob("*/*/config.json")):
        if (model := golden_model(path.parent)) is not None:
            golden.setdefault(model, []).append(path.parent)
    found += [Source(model, "golden", partial(golden_row, model, folders)) for model, folders in golden.items()]
    order = list(dict.fromkeys(source.model for source in found))
    return sorted(found, key=lambda source: (order.index(source.model), source.reference == "golden"))


def measure() -> dict[str, Any]:
    """The content of parity.json."""
    rows = []
    for source in sources():
        print(f"{source.model} beside {source.reference}", file=sys.stderr, flush=True)
        row = source.measure()
        rows.append({"model": source.model, "reference": source.reference, **row, "lines": lines_of(source.model)})
    return {"command": COMMAND, "versions": {name: version(name) for name in LIBRARIES}, "rows": rows}


# ---------------------------------------------------------------- rows


def library_row(reference: Reference) -> Row:
    """Our model beside a library's, several draws."""
    comparisons = [beside(reference, reference.tiny, seed=seed) for seed in range(SEEDS)]
    kinds = {"output": "output", "blocks": "block", "gradients": "gradient", "float32": "float32"}
    largest = {key: max(comparison.largest(kind) for comparison in comparisons) for key, kind in kinds.items()}
    return {"what": f"tiny, {SEEDS} draws of all weights", **largest}


def golden_model(folder: Path) -> str | None:
    """Which row a golden case belongs to; key lists have none.

    A system's module may say it (`ROWS = {case: model}`); else a case with weights belongs to the system's first model,
    and one without has a row of its own.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["kind"] == "keys":
        return None
    told = getattr(importlib.import_module(f"tests.golden.{config['system']}"), "ROWS", {})
    if folder.name in told:
        return told[folder.name]
    names = [reference.model for reference in all_references() if reference.system == config["system"]]
    model = names[0] if names else config["system"].upper()
    return model if (folder / "keys.json").exists() else f"{model} {config['kind'].replace('_', ' ')}"


def golden_row(model: str, folders: list[Path]) -> Row:
    """The official numbers: what a model answers, what lies inside it, and what was computed or stored in float32.

    A system's module may say what lies inside (`is_inside`), and hold gradients against finite differences
    (`gradients`) where no library has the model.
    """
    module = importlib.import_module(f"tests.golden.{read_case(folders[0]).config['system']}")
    hidden, inside, outputs, low = getattr(module, "is_inside", is_inside), [], [], []
    differences = module.gradients() if hasattr(module, "gradients") else None
    for folder in folders:
        case = read_case(folder)
        with torch.no_grad():
            lines = run_case(case)
        if wrong := [str(line) for line in lines if line.ok is False]:
            raise SystemExit("\n".join([f"{model} does not give the official numbers:", *wrong]))
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
    }


def is_inside(name: str) -> bool:
    """`out.visual.block0` lies inside the model, `out.image_features` is an answer."""
    return any(word in name for word in ("block", "layer", "stem", "ln_", "norm", "act", "tokens", "stage"))


def largest(lines: list[Line], exact: float | None = None) -> float | None:
    """The largest distance; `exact` where only whole numbers were compared (all of them equal)."""
    distances = [line.distance for line in lines if line.distance is not None]
    return max(distances, default=exact if lines else None)


def tokenizer_row() -> Row:
    """Random Unicode against open_clip's tokenizer: cleaned text, ids, rows, decoded text."""
    from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

    from tests.words import test_byte_pair as tests

    reference, clean, texts = SimpleTokenizer(), get_clean_fn("lower"), tests.random_texts(3000)
    ids = [reference.encode(text) for text in texts]
    rows = zip(reference(texts, 17), reference(texts, 77))
    expected = [(text, clean(text), i, reference.decode(i), *r) for text, i, r in zip(texts, ids, rows)]
    return exact_row(tests.differences(tests.build(), expected), "3,000 texts of random Unicode")


def word_piece_row() -> Row:
    """Nasty texts against transformers' BertTokenizer, cased and uncased: pieces, ids, rows and masks."""
    from transformers import BertTokenizer

    from minimodels.words.word_piece import WordPieceTokenizer
    from tests.words import test_word_piece as tests

    wrong: list[str] = []
    for lowercase in (True, False):
        pieces = tests.vocabulary_of(tests.TEXTS[::7], lowercase, every=2)
        ours = WordPieceTokenizer(pieces, lowercase, context_length=10_000)
        theirs = BertTokenizer(vocab={piece: id for id, piece in enumerate(pieces)}, do_lower_case=lowercase)
        wrong += tests.differences(ours, theirs, tests.TEXTS)
    return exact_row(wrong, f"{len(tests.TEXTS)} texts of random Unicode, two vocabularies")


def pixel_row(library: str) -> Row:
    """Pictures of fifteen modes and nine odd sizes, prepared for CLIP: every float32 number equal."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from minimodels.pixels.preprocess import CLIPPreprocess, TransformersPreprocess
    from tests.pixels import test_preprocess as tests

    pictures, wrong = tests.noise(), []
    for size in (32, 41):
        if library == "torchvision":
            wrong += tests.differing(CLIPPreprocess(size), tests.official_transform(size), pictures)
        else:
            reference = tests.processed(CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size))
            wrong += tests.differing(TransformersPreprocess(size, (size, size)), reference, pictures)
    return exact_row(wrong, f"{len(pictures)} pictures of {len(tests.MODES)} modes, odd sizes")


def exact_row(wrong: list[str], what: str) -> Row:
    """A row where only equality counts."""
    if wrong:
        raise SystemExit(f"{len(wrong)} differ: {'; '.join(wrong[:5])}")
    return {"what": what, "output": 0.0, "blocks": None, "gradients": None, "float32": None}


@cache
def lines_of(model: str) -> int | None:
    """Lines of code of a model's file: of the class that the reference's converter builds, or of a file by name."""
    file = FILES.get(model)
    for reference in all_references():
        if reference.model == model:
            with torch.device("meta"):
                empty = reference.build(**reference.tiny)
            about: dict[str, Any] = reference.ours(empty, reference.tiny).about  # type: ignore[assignment]
            file = models.CLASSES[about["class"]].rpartition(".")[2]
    return code_lines((ROOT / "minimodels" / f"{file}.py").read_text(encoding="utf-8")) if file else None


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
    parser.parse_args(arguments)
    data = measure()
    with write_aside(JSON) as aside:
        aside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    README.write_text(put_into_readme(README.read_text(encoding="utf-8"), markdown(data)), encoding="utf-8")
    print(markdown(data))
    print(f"written: {JSON.relative_to(ROOT)}, the table in README.md")
    worst = max(row[key] or 0.0 for row in data["rows"] for key in ("output", "blocks", "gradients"))
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
