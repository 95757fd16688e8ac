"""`BERT()` is bert-base-uncased without its pooler, `BERT(depth=6, token_types=0)` DistilBERT."""

from minimodels.bert import BERT
from tests.systems.defaults import defaults, empty, epsilons, parameters


def test_defaults():
    assert defaults(BERT) == {
        "vocab_size": 30522,
        "max_length": 512,
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "mlp_dim": 3072,
        "token_types": 2,
        "pooler": False,
        "norm_eps": 1e-12,
    }
    assert defaults(BERT.forward) == {"mask": None, "token_types": None} and defaults(BERT.embed) == {
        "token_types": None
    }


def test_they_are_what_transformers_builds():
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

    for told, theirs in (
        ({}, empty(BertModel, BertConfig(), add_pooling_layer=False)),
        ({"pooler": True}, empty(BertModel, BertConfig())),
        ({"depth": 6, "token_types": 0}, empty(DistilBertModel, DistilBertConfig())),
    ):
        ours = empty(BERT, **told)
        assert parameters(ours) == parameters(theirs) and epsilons(ours) == epsilons(theirs) == {1e-12}
        assert {block.attn.num_heads for block in ours.blocks} == {12}
