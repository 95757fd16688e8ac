"""A proof that nothing can fail proves nothing: each wrong model fails the comparison that the right one passes.

Mutants are found (checkpoints_convert/proof/mutants). What only official cases tell is in its system's folder.
"""

import copy
from functools import cache

import pytest

from checkpoints_convert.proof.mutants import all_mutants, become, each, methods
from checkpoints_convert.proof.mutants.bert import embedding
from checkpoints_convert.proof.mutants.blocks import SpelledOut
from checkpoints_convert.proof.mutants.swin import look_each, looking
from checkpoints_convert.proof.references import all_references
from checkpoints_convert.proof.suite import reference_named, tried, twins
from minimodels.blocks import Attention
from minimodels.swin import AxisBlock

pytestmark = pytest.mark.parity
FOUND = all_mutants()
MUTANTS = {f"{system}: {m.name}": m for system, mutants in FOUND.items() for m in mutants if m.beside is not None}


@cache
def right_twins(beside, trial_text, device):
    """The right model and the library's, built once for all mutants of one trial."""
    trial = next(m.trial for m in MUTANTS.values() if m.beside == beside and repr(m.trial) == trial_text)
    return tried(reference_named(*beside), trial, device=device)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name, device):
    mutant = MUTANTS[name]
    pair = copy.copy(right_twins(mutant.beside, repr(mutant.trial), device))
    pair.ours = copy.deepcopy(pair.ours)
    with mutant.applied(pair.ours):
        comparison = pair.compare()
    assert not comparison.ok, f"{name} passes:\n{comparison}"
    assert comparison.first_wrong is not None
    # Not by a hair: well above round-off, so that no seed decides.
    assert comparison.worst.status == "SHAPE" or comparison.worst.largest > 1e-8


def test_every_kind_of_twins_passes_unchanged(device):
    """The same twins, sizes and inputs as the mutants', without the mistake; and after all of them were applied."""
    for beside, trial in {(mutant.beside, repr(mutant.trial)) for mutant in MUTANTS.values()}:
        right_twins(beside, trial, device).assert_same()


def test_the_mutants_machinery_changes_nothing_itself(device):
    """Attention spelled out without a mistake passes, and so do Swin's windows and BERT's first layer: the mutants fail
    for their mistake alone."""
    for names in {m.beside for system in ("vit", "clip") for m in FOUND[system] if "ResNet" not in m.beside[0]}:
        pair = twins(reference_named(*names), device=device)
        become(SpelledOut)(pair.ours)
        pair.assert_same()
    for system, change in (("bert", embedding()), ("swin", looking())):
        for names in {mutant.beside for mutant in FOUND[system]}:
            pair = twins(reference_named(*names), device=device)
            (methods(AxisBlock, look_around=look_each) if names == ("Swin", "timm") else change)(pair.ours)
            pair.assert_same()


def test_the_table_names_the_first_wrong_block(device):
    """A mistake in the second block: what lies before it has wrong gradients alone, and the second is named."""
    pair = twins(reference_named("ViT", "timm"), device=device)
    each(Attention, lambda attention: setattr(attention, "num_heads", 1))(pair.ours.blocks[1])
    comparison = pair.compare()
    status = {row.ours: row.status for row in comparison.rows}
    assert (status["blocks.0"], status["blocks.1"], status["logits"]) == ("GRAD", "DIFF", "DIFF")
    assert comparison.first_wrong.ours == "blocks.1"


def test_every_system_that_a_library_has_has_mutants():
    assert {reference.system for reference in all_references()} <= FOUND.keys()


def test_mutants_have_names_of_their_own_and_say_where_they_fail():
    for system, mutants in FOUND.items():
        assert len({mutant.name for mutant in mutants}) == len(mutants), system
        assert all((mutant.beside is None) == bool(mutant.cases) for mutant in mutants), system
