"""`python -m tests.fuzz`: try for some minutes, or try again what was found before."""

import argparse
import contextlib
import io
import json
import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path

# Before anything imports torch: children are forked, and a fork takes one thread along.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["COLUMNS"] = "80"

from tests.fuzz.cases import FOUND, Case, Target, all_targets
from tests.fuzz.judge import HIGH, Verdict
from tests.fuzz.runner import Runner, replay

EACH = 3  # findings of one cause that are kept


def main() -> int:
    """Exit code 1 where something was found that is more than a line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default 5)")
    parser.add_argument("--seed", help="of all cases; without it a fresh one, which is printed")
    parser.add_argument("--only", action="append", metavar="TARGET", help="targets whose names begin so")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--keep", type=Path, default=FOUND, metavar="DIR", help="where findings are written")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE|DIR", help="try these cases again")
    parser.add_argument("--json", action="store_true", help="with --replay: print JSON")
    parser.add_argument("--list", action="store_true", help="print the targets")
    options = parser.parse_args()
    targets = all_targets()
    if options.list:
        print("\n".join(targets))
        return 0
    if options.replay:
        return again(options.replay, targets, options.json)
    chosen = [target for target in targets.values() if target.name.startswith(tuple(options.only or [""]))]
    return run(chosen, options)


def run(targets: list[Target], options: argparse.Namespace) -> int:
    """Try, and tell."""
    seed = options.seed or secrets.token_hex(4)
    print(f"seed {seed}, {len(targets)} targets, {options.minutes:g} minutes", flush=True)
    prepare(targets)
    causes: Counter[str] = Counter()
    worst = 0

    def found(case: Case, verdict: Verdict) -> None:
        nonlocal worst
        causes[verdict.cause] += 1
        worst += verdict.kind in HIGH
        if causes[verdict.cause] <= EACH:
            path = case.keep(options.keep)
            print(f"{verdict.kind.upper():<10} {path.name}  {verdict.cause}\n           {verdict.detail}", flush=True)

    runner = Runner(targets, seed, found, options.workers)
    try:
        runner.run(options.minutes * 60)
    except KeyboardInterrupt:
        print("stopped")
    print(table(runner))
    for cause, count in causes.most_common():
        print(f"{count:6} x {cause}")
    print(f"seed {seed}: {sum(tally.tries for tally in runner.tallies.values()):,} tries, {worst} findings")
    return 1 if worst else 0


def prepare(targets: list[Target]) -> None:
    """What targets need, once."""
    began = time.monotonic()
    with contextlib.redirect_stderr(io.StringIO()):  # the libraries' progress
        for target in targets:
            target.prepare()
    print(f"prepared in {time.monotonic() - began:.0f} s", flush=True)


def table(runner: Runner) -> str:
    """A line a target."""
    lines = [f"{'target':<22}{'tries':>8}{'a second':>10}  what came of them"]
    for name, tally in runner.tallies.items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in tally.kinds.most_common())
        lines.append(f"{name:<22}{tally.tries:>8}{tally.tries / (tally.seconds or 1):>10.1f}  {kinds}")
    return "\n".join(lines)


def again(places: list[Path], targets: dict[str, Target], as_json: bool) -> int:
    """Try kept cases again, each in a process of its own."""
    files = [file for place in places for file in (sorted(place.rglob("*.json")) if place.is_dir() else [place])]
    cases = [Case.from_json(file.read_text("utf-8")) for file in files]
    with contextlib.redirect_stderr(io.StringIO()):
        for name in sorted({case.target for case in cases}):
            targets[name].prepare()
    verdicts = replay(cases, targets)
    if as_json:
        print(json.dumps({file.name: verdict.to_json() for file, verdict in zip(files, verdicts)}, indent=1))
    else:
        for file, verdict in zip(files, verdicts):
            print(f"{verdict.kind.upper() if verdict.bad else verdict.kind:<12} {file.name}  {verdict.detail}")
    return 1 if any(verdict.kind in HIGH for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
