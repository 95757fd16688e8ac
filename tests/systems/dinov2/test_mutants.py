"""Wrong DINOv2s miss the official numbers that the right one meets."""

import pytest
import torch

from checkpoints_convert import build
from checkpoints_convert.proof.mutants import Mutant, mutants_of
from checkpoints_convert.proof.mutants.dinov2 import positions_with
from tests.golden import read_case
from tests.systems.dinov2 import golden as dinov2


@pytest.fixture(scope="module")
def official(root):
    """Cases with the tensors of their models."""
    names = {case for mutant in mutants_of("dinov2") for case in mutant.cases}
    return {name: read_case(root / "tests/golden/dinov2" / name) for name in names}


def lines_of(case, mutant):
    model = build(case.checkpoint(), "dinov2", num_heads=case.config["kwargs"]["num_heads"])
    with torch.no_grad(), mutant.applied(model):
        return dinov2.judged(case, model, torch.device("cpu"))


@pytest.mark.parity
@pytest.mark.parametrize("mutant", mutants_of("dinov2"), ids=lambda mutant: mutant.name)
def test_mutants_miss_the_official_numbers(mutant, official, monkeypatch):
    monkeypatch.setattr(torch, "equal", lambda *_: True)  # the case's own check of one feature against another
    for case in mutant.cases:
        lines = lines_of(official[case], mutant)
        assert any(line.ok is False and (line.distance is None or line.distance > 1e-8) for line in lines), case


@pytest.mark.parity
@pytest.mark.parametrize("case", ["tiny", "tiny_up", "tiny_same_count", "tiny_reg"])
def test_positions_spelled_out_without_a_mistake_pass(case, official):
    assert all(line.ok is not False for line in lines_of(official[case], Mutant("none", positions_with())))
