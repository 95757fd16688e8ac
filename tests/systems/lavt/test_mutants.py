"""Wrong LAVTs miss the official numbers that the right one meets."""

import copy

import pytest
import torch

from checkpoints_convert import build
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.mutants import mutants_of
from tests.golden import read_case
from tests.systems.lavt import golden


@pytest.fixture(scope="module")
def official(root):
    """The cases with their models, built once; BERT inside in tiny_one."""
    cases = {name: read_case(root / "tests/golden/lavt" / name) for name in ("tiny_w4", "tiny_mha", "tiny_one")}
    tensors = {name: case.checkpoint() for name, case in cases.items()}
    bert = golden.small_bert()
    files = {name: t if name == "tiny_one" else golden.tables.join(t, bert) for name, t in tensors.items()}
    return {name: (case, build(files[name], "lavt", **golden.told(case))) for name, case in cases.items()}


def apart(case, model) -> float:
    """How far the logits of a model are from a case's official ones."""
    image = case.tensor("in.image", torch.float64)
    with torch.no_grad():
        if case.path.name == "tiny_one":
            logits = model(image, case.tensor("in.text"), case.tensor("in.l_mask"))
        else:
            logits = model.segment(image, case.tensor("in.lang").mT, case.tensor("in.l_mask")[..., 0])
    return difference(logits, case.tensor("out.logits"))


@pytest.mark.parity
def test_the_right_model_meets_the_official_numbers(official):
    assert max(apart(*official[case]) for case in official) <= 1e-10


@pytest.mark.parity
@pytest.mark.parametrize("mutant", mutants_of("lavt"), ids=lambda mutant: mutant.name)
def test_mutants_are_caught(official, mutant):
    """Every wrong model misses the official numbers that the right one meets."""
    for name in mutant.cases:
        case, model = official[name]
        changed = copy.deepcopy(model)  # BatchNorm in training would remember what it saw
        with mutant.applied(changed):
            assert apart(case, changed) > 1e-7, f"{mutant.name} goes unnoticed"


def test_the_last_gate_is_never_computed(official, monkeypatch):
    """Its weights are in every official file; zeroing them changes nothing, and it gets no gradient."""
    case, model = official["tiny_w4"]
    monkeypatch.setattr(model.gates[-1], "forward", lambda *_: pytest.fail("computed"))
    assert apart(case, model) <= 1e-10
