"""Every reference on every trial: output, every block, gradients of inputs and of every parameter, in float64.

References are found (checkpoints_convert/proof/references); what only one system has is tested in its own folder.
"""

import pytest

from checkpoints_convert.proof.references import all_references
from checkpoints_convert.proof.suite import tried

pytestmark = pytest.mark.parity
TRIALS = {
    f"{reference.system}: {reference.model}, {reference.library}, {name}": (reference, trial)
    for reference in all_references()
    for name, trial in reference.trials.items()
}


@pytest.mark.parametrize("name", TRIALS)
def test_same_as_the_library(name, device):
    reference, trial = TRIALS[name]
    pair = tried(reference, trial, device=device)
    comparison = pair.assert_same()
    rows = {row.ours: row.kind for row in comparison.rows}
    floating = {name for name, tensor in pair.inputs.items() if tensor.is_floating_point()}
    assert floating <= {name for name, kind in rows.items() if kind == "input"}
    assert {"block", "output"} <= set(rows.values())
    assert all(row.gradient is not None for row in comparison.rows if row.kind == "input")
