"""What the project offers, in one file, so that a move loses nothing unseen: python -m tests.inventory [--write]

Names of tests (without their files, which may move), commands with their options, pages of the site, rows of the parity
report and of the benchmarks. Without --write it prints what `tests/inventory.json` has and the project has not (-), and
the reverse (+), and exits with 1 where something is gone.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "inventory.json"
PROGRAMS = ("minimodels", "checkpoints_convert", "lessons", "lessons.book", "lessons.stickers")
PROGRAMS += ("tests.golden", "tests.report", "tests.benchmarks")
SUBCOMMANDS = re.compile(r"^ {4}([a-z][a-z-]+)(?: {2,}|$)", re.M)


def said(*words: str) -> str:
    """What a command prints, whatever its exit code."""
    settings = os.environ | {"COLUMNS": "500", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=settings, capture_output=True, text=True).stdout


def tests() -> list[str]:
    """The names of all tests, slow ones too; of those with one name, as many as there are."""
    lines = said("pytest", "--collect-only", "-q", "--slow").splitlines()
    return sorted(line.partition("::")[2] for line in lines if "::" in line)


def commands() -> list[str]:
    """ "program subcommand: options", from their help."""
    found = []
    for program in PROGRAMS:
        text = said(program, "--help")
        found.append(f"{program}: {options(text)}")
        found += [
            f"{program} {name}: {options(said(program, name, '--help'))}"
            for name in dict.fromkeys(SUBCOMMANDS.findall(text))
        ]
    return sorted(found)


def options(text: str) -> str:
    """The options that a help text names."""
    return " ".join(sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))))


def pages() -> list[str]:
    """The pages of the built site."""
    said("mkdocs", "build", "--site-dir", "site")
    return sorted(path.relative_to(ROOT / "site").as_posix() for path in (ROOT / "site").rglob("*.html"))


def rows(name: str, keys: tuple[str, ...]) -> list[str]:
    """The rows of a report by what tells them apart."""
    content = json.loads((ROOT / "docs" / "data" / f"{name}.json").read_text(encoding="utf-8"))
    return sorted(" / ".join(str(row[key]) for key in keys) for row in content["rows"])


def inventory() -> dict[str, list[str]]:
    """Everything."""
    return {
        "commands": commands(),
        "pages": pages(),
        "parity": rows("parity", ("model", "reference")),
        "benchmarks": rows("bench", ("work", "reference")),
        "tests": tests(),
    }


def differences(old: list[str], new: list[str]) -> list[str]:
    """Lines that only one of the two has, each as often as it is missing."""
    lost, came = list(old), []
    for line in new:
        if line in lost:
            lost.remove(line)
        else:
            came.append(line)
    return [f"- {line}" for line in lost] + [f"+ {line}" for line in came]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.inventory", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the file anew")
    asked = parser.parse_args(arguments)
    now = inventory()
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    found = {kind: differences(before.get(kind, []), lines) for kind, lines in now.items()}
    for kind, lines in found.items():
        print(f"{kind}: {len(now[kind])}", *(f"  {line}" for line in lines), sep="\n")
    if asked.write:
        FILE.write_text(json.dumps(now, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0
    return int(any(line.startswith("-") for lines in found.values() for line in lines))


if __name__ == "__main__":
    sys.exit(main())
