"""BERT's padding, its weights in the open, and what it refuses."""

import pytest
import torch

from checkpoints_convert.proof.verify import difference
from minimodels.errors import UserError
from tests.systems.bert.small import small, texts


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
    with torch.no_grad():
        full = torch.ones(1, 14, dtype=torch.long)  # as many as there are positions
        assert difference(model(full), model(full, token_types=torch.zeros_like(full))) <= 1e-12
        assert difference(model(full), model(full, token_types=full)) > 1e-3
        without = small(token_types=0)
        assert without(full).shape == (1, 14, 24)
    with pytest.raises(UserError, match="knows no token types"):
        small(token_types=0)(ids, mask, torch.zeros_like(ids))
    with pytest.raises(UserError, match=r"the mask is \(3, 8\), the ids are \(3, 9\)"):
        model.key_mask(ids, mask[:, 1:])
    with pytest.raises(UserError, match="without its pooler"):
        small(pooler=False).pool(model(ids))
