"""What is measured of BERT."""

import torch

from minimodels.stored import models
from tests.benchmarks.inputs import filled
from tests.benchmarks.measure import Run, Work


def bert_builders(texts: int) -> dict:
    """BERT-base on texts of at most 24 tokens, padded to the longest, to the last hidden states."""
    ids = torch.randint(1, 30522, (texts, 24), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row in range(texts):
        mask[row, 24 - row % 8 * 2 :] = 0
    ids = ids * mask

    def ours() -> Run:
        model = filled(models.build("BERT", {}))
        return lambda: model(ids, mask)

    def transformers() -> Run:
        from transformers import BertConfig, BertModel

        config = BertConfig(attn_implementation="sdpa")
        model = BertModel(config, add_pooling_layer=False).eval()
        return lambda: model(input_ids=ids, attention_mask=mask).last_hidden_state

    return {"ours": ours, "transformers": transformers}


WORKS = [
    Work("BERT-base, one sentence of 24 tokens", bert_builders(1), bar=1.05, rounds=25),
    Work("BERT-base, 32 sentences, padded", bert_builders(32), bar=1.05, rounds=5),
]
