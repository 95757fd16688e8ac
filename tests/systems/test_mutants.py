"""A proof that nothing can fail proves nothing: each wrong model fails the comparison that the right one passes."""

import pytest

from checkpoints_convert.proof.suite import reference_named, tiny, twins
from minimodels.blocks import Attention
from tests.systems.mutants import MUTANTS, SpelledOut, become, each

pytestmark = pytest.mark.parity


def make(mutant, device):
    reference = reference_named(*mutant.twins)
    return twins(reference, tiny(reference, **mutant.sizes), device=device, image_size=mutant.image_size)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant, device):
    pair = make(mutant, device)
    mutant.change(pair.ours)
    comparison = pair.compare()
    assert not comparison.ok, f"{mutant.name} passes:\n{comparison}"
    assert comparison.first_wrong is not None
    # Not by a hair: well above round-off, so that no seed decides.
    assert comparison.worst.status == "SHAPE" or comparison.worst.largest > 1e-9


def test_every_kind_of_twins_passes_unchanged(device):
    """The same twins, sizes and inputs as the mutants', without the mistake."""
    tried = {(mutant.twins, str(mutant.sizes), mutant.image_size): mutant for mutant in MUTANTS}
    for mutant in tried.values():
        make(mutant, device).assert_same()


def test_the_mutants_machinery_changes_nothing_itself(device):
    """Attention spelled out without a mistake passes: the mutants fail for their mistake alone."""
    for names in {mutant.twins for mutant in MUTANTS if "ResNet" not in mutant.twins[0]}:
        pair = twins(reference_named(*names), device=device)
        become(SpelledOut)(pair.ours)
        pair.assert_same()


def test_the_table_names_the_first_wrong_block(device):
    """A mistake in the second block: what lies before it has wrong gradients alone, and the second is named."""
    pair = twins(reference_named("ViT", "timm"), device=device)
    each(Attention, lambda attention: setattr(attention, "num_heads", 1))(pair.ours.blocks[1])
    comparison = pair.compare()
    status = {row.ours: row.status for row in comparison.rows}
    assert (status["blocks.0"], status["blocks.1"], status["logits"]) == ("GRAD", "DIFF", "DIFF")
    assert comparison.first_wrong.ours == "blocks.1"
