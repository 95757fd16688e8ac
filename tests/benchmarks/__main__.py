"""python -m tests.benchmarks [--only TEXT] [--json FILE]: the table of lesson 6.1, measured here and now.

One thread, fp32, eval, random weights; every library in turn in one process, medians, the A/A noise beside. Exits with
1 when a line misses its bar.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from tests.benchmarks.measure import Work, machine, measure, peak
from tests.benchmarks.works import works

RESULT = Path(__file__).parents[2] / "docs" / "data" / "bench.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="measure again the lines whose name contains this text")
    parser.add_argument("--json", type=Path, default=RESULT, help="where the whole table is written")
    parser.add_argument("--peak", nargs=2, metavar=("WORK", "WHO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = works()
    if options.peak:
        work = next(work for work in every if work.name == options.peak[0])
        print(peak(work.builders[options.peak[1]]))
        return 0
    chosen = [work for work in every if options.only.lower() in work.name.lower()]
    print(f"{machine()}\n{'':46} {'ours':>9} {'reference':>9}  ratio   bar  noise   memory", flush=True)
    rows = [line(work) | {"machine": machine()} for work in chosen]
    measured = {str(row["work"]): row for row in rows}
    if options.only and options.json.exists():  # some measured again: the other lines stay as they were
        before = json.loads(options.json.read_text())
        measured = {row["work"]: {"machine": before["machine"], **row} for row in before["rows"]} | measured
    table = [measured[work.name] for work in every if work.name in measured]
    result = {"command": "python -m tests.benchmarks", "machine": machine(), "rows": table}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(row["ok"] for row in rows) else 1


def line(work: Work) -> dict:
    """Measure one line and print it."""
    row = measure(work)
    memory = f"{row['memory_ratio']:.2f} of {row['reference_mb']:.0f} MB" if "memory_ratio" in row else "-"
    print(
        f"{work.name:46} {row['ours_ms']:7.0f}ms {row['reference_ms']:7.0f}ms {row['ratio']:6.2f} {work.bar:5.2f} "
        f"{row['noise']:6.2f}   {memory}   {row['reference']}{'' if row['ok'] else '   MISSED'}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    sys.exit(main())
