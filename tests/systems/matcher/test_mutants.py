"""Wrong Matchers miss the official numbers that the right one meets."""

import pytest
import torch

from minimodels.errors import UserError
from tests.golden import read_case, run_case
from tests.systems.matcher import mutants


def wrong_lines(root, name: str) -> list[str]:
    """What is wrong with a case, or the error that running it ends in."""
    try:
        with torch.no_grad():
            return [str(line) for line in run_case(read_case(root / "tests/golden/matcher" / name)) if line.ok is False]
    except UserError as error:
        return [str(error)]


@pytest.mark.parity
@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_are_caught(root, mutant):
    for case in mutant.cases:
        with mutant.change():
            assert wrong_lines(root, case), f"{case} does not see it"
