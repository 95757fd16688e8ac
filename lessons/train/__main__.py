"""The trainers: `python -m lessons.train NAME`, one a folder of lessons/train."""

import importlib
import sys
from pathlib import Path


def main(words: list[str] | None = None) -> int:
    """Hand the words behind the name to that trainer."""
    name, *rest = (sys.argv[1:] if words is None else words) or [""]
    names = sorted(path.parent.name for path in Path(__file__).parent.glob("*/trainer.py"))
    if name not in names:
        print(f"usage: python -m lessons.train NAME [--help], with one of: {', '.join(names)}", file=sys.stderr)
        return 2
    code: int = importlib.import_module(f"lessons.train.{name}.trainer").main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
