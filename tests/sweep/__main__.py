"""Convert every model name of the libraries and compare: python -m tests.sweep [--only TEXT] [--write]

Exit code 0: each one agrees or is refused in one line; 1: something else happened. With --write the table on the
book's page, docs/data/sweep.json, is written anew (with --only, the other rows stay).
"""

import argparse
import importlib.metadata
import json
import sys
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minimodels.errors.aside import write_aside
from tests.sweep import Outcome, library_of, parts, sweep

JSON = Path(__file__).resolve().parents[2] / "docs" / "data" / "sweep.json"
COMMAND = "python -m tests.sweep --write"


def table(outcomes: list[Outcome], kept: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of sweep.json: the new rows, and of the old ones those of other names, as the parts order them."""
    rows = {(row["group"], row["name"]): row for row in [*kept, *map(asdict, outcomes)]}
    places = [(library_of(part), name) for part in parts() for name in part.NAMES]
    order = {place: at for at, place in enumerate(places)}
    known = {place: row for row in rows.values() if (place := place_of(row)) in order}
    libraries = sorted({library for part in parts() for library in part.LIBRARIES})
    versions = {library: importlib.metadata.version(library) for library in libraries}
    written = [known[place] for place in order if place in known]
    return {"command": COMMAND, "versions": versions, "rows": written}


def place_of(row: dict[str, Any]) -> tuple[str, str]:
    """Library and name of a row; two libraries may use one name."""
    return row["group"].partition(",")[0], row["name"]


def main(arguments: list[str] | None = None) -> int:
    """Run, print a line a name, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="the names whose part and name contain this text (timm, siglip)")
    parser.add_argument("--write", action="store_true", help="write the table of the book's page")
    options = parser.parse_args(arguments)
    outcomes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for outcome in sweep(options.only):
            outcomes.append(outcome)
            print(outcome, flush=True)
    if options.write:
        kept = json.loads(JSON.read_text(encoding="utf-8"))["rows"] if options.only and JSON.exists() else []
        with write_aside(JSON) as aside:
            aside.write_text(json.dumps(table(outcomes, kept), indent=1) + "\n", encoding="utf-8")
    counts = Counter("agree" if o.agrees else "refused" if o.refused else "WRONG" for o in outcomes)
    print(", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "no such name")
    return int(not all(outcome.fine for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
