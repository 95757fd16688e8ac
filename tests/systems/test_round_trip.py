"""Every reference, there and back: our model's tensors under the library's names load there strictly, bit for bit.

References are found (checkpoints_convert/proof/references). Other formats and official files: test_export.py of the
converter's tests, and each system's own folder.
"""

import pytest
import torch

from checkpoints_convert import SYSTEMS, export
from checkpoints_convert.proof.references import all_references
from checkpoints_convert.proof.verify import redraw_all

REFERENCES = {
    f"{reference.system}: {reference.model}, {reference.library}": reference for reference in all_references()
}


@pytest.mark.parity
@pytest.mark.parametrize("name", REFERENCES)
def test_export_is_the_inverse_of_the_table(name):
    reference = REFERENCES[name]
    theirs = redraw_all(reference.build(**reference.tiny))
    before = theirs.state_dict()
    dropped = SYSTEMS[reference.system].formats[reference.format].table.convert(before).dropped
    back = export(reference.ours(theirs, reference.tiny), reference.format)
    fresh = reference.build(**reference.tiny)
    fresh.load_state_dict({**{key: before[key] for key in dropped}, **back}, strict=True)
    for key, tensor in fresh.state_dict().items():
        assert tensor.dtype == before[key].dtype and torch.equal(tensor, before[key]), key
