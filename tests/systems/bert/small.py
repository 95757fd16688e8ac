"""A BERT in miniature, texts for it, and the references."""

import torch

from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import redraw_all
from minimodels.bert import BERT

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
