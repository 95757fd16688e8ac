"""BERT and DistilBERT beside transformers at official sizes and by hand; ../test_parity.py has the trials."""

import pytest
import torch

from checkpoints_convert.proof.suite import twins
from checkpoints_convert.proof.verify import beside, difference
from tests.systems.bert.small import DISTIL, REFERENCE, texts


@pytest.mark.parity
def test_without_token_types_all_are_of_the_first_text():
    twin = twins(REFERENCE)
    ids, mask = texts()
    with torch.no_grad():
        expected = twin.theirs.double()(input_ids=ids, attention_mask=mask).last_hidden_state
        assert difference(twin.ours.double()(ids, mask), expected) <= 1e-10
        assert difference(twin.ours(ids, mask.bool()), expected) <= 1e-10


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("reference", [REFERENCE, DISTIL], ids=["BERT", "DistilBERT"])
def test_official_sizes(reference, device):
    sizes = next(iter(reference.official.values()))
    assert (comparison := beside(reference, sizes, device=device, batch=2)).ok, f"\n{comparison}"


def test_a_stopped_gradient_is_caught():
    twin = twins(REFERENCE)
    twin.ours.norm.register_forward_hook(lambda module, given, output: output.detach())
    found = twin.compare()
    assert not found.ok and found.largest("output") <= 1e-10
