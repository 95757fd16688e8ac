"""BERT and DistilBERT against transformers: outputs, blocks, gradients, padding, token types; what they refuse."""

import pytest
import torch

from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.proof.verify import beside, difference, redraw_all
from minimodels.bert import BERT
from minimodels.errors import UserError

REFERENCE = reference_named("BERT", "transformers")
DISTIL = reference_named("DistilBERT", "transformers")
SMALL = {
    "vocab_size": 50, "max_length": 14, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 40, "pooler": True,
}  # fmt: skip


def small(**changes) -> BERT:
    return redraw_all(BERT(**{**SMALL, **changes})).double()


def texts(rows: int = 3, length: int = 9, vocab_size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and a mask; row r has 2 r tokens of padding."""
    ids = torch.randint(1, vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(rows, length, dtype=torch.long)
    for row in range(rows):
        mask[row, length - 2 * row :] = 0
    return ids * mask, mask


# ---------------------------------------------------------------- parity


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


# ---------------------------------------------------------------- mutants


def test_a_stopped_gradient_is_caught():
    twin = twins(REFERENCE)
    twin.ours.norm.register_forward_hook(lambda module, given, output: output.detach())
    found = twin.compare()
    assert not found.ok and found.largest("output") <= 1e-10


# ---------------------------------------------------------------- padding


def test_padding_changes_no_token():
    """A text alone and the same text padded in a batch give the same tokens."""
    model = small().eval()
    ids, mask = texts()
    with torch.no_grad():
        batch = model(ids, mask)
        for row, length in enumerate(mask.sum(dim=1).tolist()):
            alone = model(ids[row : row + 1, :length])
            assert difference(batch[row, :length], alone[0]) <= 1e-12
        other = ids.where(mask.bool(), 7)
        assert difference(model(other, mask)[mask.bool()], batch[mask.bool()]) <= 1e-12
        assert difference(model(ids, torch.ones_like(ids)), model(ids)) <= 1e-12


def test_one_wide_weights_for_a_debugger():
    """`Attention.weights` with the padding mask: no weight on padding, each row sums to one."""
    model = small().eval()
    ids, mask = texts()
    weights = model.blocks[0].attn.weights(model.embed(ids), model.key_mask(ids, mask))
    assert weights.shape == (3, 3, 9, 9)
    assert torch.equal(weights[:, 0, 0] > 0, mask.bool())
    assert difference(weights.sum(-1), torch.ones(3, 3, 9).double()) <= 1e-12


def test_bad_input():
    model = small()
    ids, mask = texts()
    with pytest.raises(UserError, match="texts of 15 tokens do not fit this BERT's 14 positions.*truncate=True"):
        model(torch.ones(1, 15, dtype=torch.long))
    with pytest.raises(UserError, match="knows no token types"):
        small(token_types=0)(ids, mask, torch.zeros_like(ids))
    with pytest.raises(UserError, match=r"the mask is \(3, 8\), the ids are \(3, 9\)"):
        model.key_mask(ids, mask[:, 1:])
    with pytest.raises(UserError, match="without its pooler"):
        small(pooler=False).pool(model(ids))
