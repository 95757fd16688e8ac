"""What is measured: our models and the references at the official sizes, with random weights.

Each system says its own, `WORKS` in tests/systems/<system>/benchmarks.py; the table has the systems in the order of the
alphabet, and of each its works as they are written there. Every builder imports its own library, so that the memory of
one is not counted for another.
"""

import importlib
from pathlib import Path

from tests.benchmarks.measure import Work

SYSTEMS = Path(__file__).parents[1] / "systems"


def works() -> list[Work]:
    """Every line of the table, in its order."""
    names = sorted(path.parent.name for path in SYSTEMS.glob("*/benchmarks.py"))
    modules = [importlib.import_module(f"tests.systems.{name}.benchmarks") for name in names]
    return [work for module in modules for work in module.WORKS]
