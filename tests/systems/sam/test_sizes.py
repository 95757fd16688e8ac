"""SAM reads its own square alone, and decodes only embeddings of its own grid."""

import inspect

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, twins
from minimodels.errors import UserError
from minimodels.sam import SAM
from tests.systems.sam.small import pictures, prompts, small
from tests.systems.sizes import assert_right_or_refused


@pytest.mark.parity
def test_no_other_size():
    """Trained for 40 x 40, 5 x 5 patches; 8 x 200 has as many."""
    reference = reference_named("SAM", "transformers")
    pair = twins(reference)
    ours, theirs = pair.ours.double(), pair.theirs.double()
    sizes = (0, 8, 39, 40, 48, 200)
    assert_right_or_refused(
        lambda image: inspect.unwrap(SAM.encode)(ours, image),  # in the tests its annotation would speak first
        lambda image: theirs.vision_encoder(image).last_hidden_state,
        sizes,
        sizes,
        lambda height, width: height == width == 40,
    )


@pytest.mark.parametrize("cells", [(25, 1), (1, 25), (4, 5), (5, 4), (6, 6)])
def test_an_embedding_of_another_grid(cells):
    """25 x 1 cells are as many as 5 x 5: their places would be taken for those of the square."""
    model, given = small(), prompts(1, 2)
    with pytest.raises(UserError, match=rf"an embedding of {cells[0]} x {cells[1]} cells, expected 5 x 5"):
        model.decode(torch.zeros(1, 16, *cells, dtype=torch.float64), given["points"], given["labels"])
    with torch.no_grad():
        model.decode(model.encode(pictures(1)), given["points"], given["labels"])
