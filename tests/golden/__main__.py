"""Run golden case folders: python -m tests.golden CASE_DIR ... [--device cpu|cuda]

Prints each array's largest difference. Exit code 0: all within the case's tolerance; 1: something differs; 2: a folder
that is no golden case.
"""

import argparse
import sys
from pathlib import Path

import torch

from checkpoints_convert.proof.verify import check_device
from minimodels.errors import UserError
from tests.golden import read_case, run_case


def main(arguments: list[str] | None = None) -> int:
    """Run every folder; a bad one does not stop the others."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.splitlines()[0])
    parser.add_argument("folders", metavar="CASE_DIR", nargs="+", type=Path, help="folder of a golden case")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    options = parser.parse_args(arguments)
    code = 0
    for folder in options.folders:
        try:
            with torch.no_grad():
                case = read_case(folder)
                lines = run_case(case, check_device(options.device))
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            code = 2
            continue
        wrong = sum(line.ok is False for line in lines)
        judged = sum(line.ok is not None for line in lines)
        print(f"{case.config['system']} / {case.path.resolve().name} ({case.config['kind']})")
        print("\n".join(f"  {line}" for line in lines))
        print(f"  {judged - wrong} of {judged} right" + (", NOT the official numbers" if wrong else ""))
        code = max(code, int(wrong > 0))
    return code


if __name__ == "__main__":
    sys.exit(main())
