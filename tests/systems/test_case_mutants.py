"""Wrong models that no library tells apart miss the official numbers that the right one meets.

They are found: `MUTANTS` in tests/systems/<system>/mutants.py, each naming cases of tests/golden/<system>/.
"""

import importlib
from pathlib import Path

import pytest
import torch

from minimodels.errors import UserError
from tests.golden import read_case, run_case

SYSTEMS = sorted(file.parent.name for file in Path(__file__).parent.glob("*/mutants.py"))
FOUND = {name: importlib.import_module(f"tests.systems.{name}.mutants").MUTANTS for name in SYSTEMS}
MUTANTS = {f"{system}: {mutant.name}": (system, mutant) for system, mutants in FOUND.items() for mutant in mutants}
FOLDERS = sorted({(system, case) for system, mutant in MUTANTS.values() for case in mutant.cases})


def wrong_lines(root, system: str, name: str) -> list[str]:
    """What is wrong with a case, or the error that running it ends in."""
    try:
        with torch.no_grad():
            case = read_case(root / "tests/golden" / system / name)
            return [str(line) for line in run_case(case) if line.ok is False]
    except UserError as error:
        return [str(error)]


@pytest.mark.parity
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(root, name):
    system, mutant = MUTANTS[name]
    for case in mutant.cases:
        with mutant.change():
            assert wrong_lines(root, system, case), f"{case} does not see it"


@pytest.mark.parity
@pytest.mark.parametrize(("system", "case"), FOLDERS)
def test_the_right_model_meets_the_official_numbers(root, system, case):
    assert not wrong_lines(root, system, case)
