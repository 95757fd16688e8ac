"""CLIPSeg beside transformers at full size and by its own forward; ../test_parity.py has the trials."""

import pytest
import torch

from checkpoints_convert.proof.references.clipseg import B16, TINY, TINY_REFINED
from checkpoints_convert.proof.verify import beside, difference
from tests.systems.clipseg.small import REFERENCE, pair, pictures, words


@pytest.mark.parity
@pytest.mark.parametrize("sizes", [TINY, TINY_REFINED], ids=["plain", "refined"])
def test_same_as_transformers_own_forward(sizes):
    """The parity test runs transformers' parts; here is its whole forward, as a user calls it."""
    theirs, ours = pair(sizes)
    side = 36 if sizes is TINY else 64
    image, ids, picture = pictures(2, side), words(2), pictures(2, side, seed=1)
    with torch.no_grad():
        by_text = theirs(input_ids=ids, pixel_values=image)
        by_picture = theirs(conditional_pixel_values=picture, pixel_values=image)
        assert difference(ours(image, ours.encode_text(ids)[:, None])[:, 0], by_text.logits) <= 1e-10
        assert difference(ours.encode_text(ids), by_text.conditional_embeddings) <= 1e-10
        assert difference(ours(image, ours.encode_image(picture)[:, None])[:, 0], by_picture.logits) <= 1e-10
        assert difference(ours.encode_image(picture), by_picture.conditional_embeddings) <= 1e-10


@pytest.mark.parity
@pytest.mark.slow
def test_same_as_transformers_at_full_size(device):
    assert (comparison := beside(REFERENCE, B16, device=device, batch=1)).ok, f"\n{comparison}"


def test_the_comparison_of_gradients_catches_a_stopped_one():
    theirs, ours = pair()
    ours.decoder.film_mul.register_forward_hook(lambda module, given, output: output.detach())
    inputs = REFERENCE.inputs(ours.about["arguments"], torch.Generator().manual_seed(0), 2)
    found = REFERENCE.compare(ours, theirs, inputs)
    assert not found.ok and found.largest("output") <= 1e-10
