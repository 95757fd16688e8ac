"""BERT and DistilBERT beside transformers.

With `pad_token_id` transformers keeps the padding's embedding out of training. Its answers are the same, so the
references are built without it, and the gradients of all rows are compared.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial


def build_bert(*, pooler: bool = True, **sizes: Any) -> nn.Module:
    """transformers' BertModel; `sizes` are BertConfig's."""
    from transformers import BertConfig, BertModel

    config = BertConfig(**{"pad_token_id": None, **sizes}, attn_implementation="sdpa")
    return BertModel(config, add_pooling_layer=pooler)


def build_distilbert(**sizes: Any) -> nn.Module:
    """transformers' DistilBertModel; `sizes` are DistilBertConfig's."""
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(DistilBertConfig(**{"pad_token_id": None, **sizes}, attn_implementation="sdpa"))


def open_transformers(reference: Reference, tensors: Mapping[str, Tensor], sizes: Sizes) -> nn.Module:
    """transformers' own loader: it knows gamma and beta, takes the prefix off, and passes over the heads."""
    empty = reference.build(**sizes)
    model, report = type(empty).from_pretrained(  # type: ignore[attr-defined]
        None, config=empty.config, state_dict=dict(tensors), output_loading_info=True
    )
    assert not report["missing_keys"] and not report["mismatched_keys"], report
    return model


def told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell."""
    heads = sizes.get("num_attention_heads", sizes.get("n_heads", 12))
    return {"num_heads": heads, "norm_eps": sizes.get("layer_norm_eps", 1e-12)}


def bert_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """transformers' words for the arguments of ours; its BERT always tells two texts apart."""
    if not arguments["token_types"]:
        return None
    words = {
        "hidden_size": "embed_dim",
        "num_hidden_layers": "depth",
        "num_attention_heads": "num_heads",
        "intermediate_size": "mlp_dim",
        "vocab_size": "vocab_size",
        "max_position_embeddings": "max_length",
        "type_vocab_size": "token_types",
        "layer_norm_eps": "norm_eps",
        "pooler": "pooler",
    }
    return {theirs: arguments[ours] for theirs, ours in words.items()}


def distilbert_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """The same of DistilBERT, which has neither token types nor a pooler, and one epsilon."""
    if arguments["token_types"] or arguments["pooler"] or arguments["norm_eps"] != 1e-12:
        return None
    words = {"dim": "embed_dim", "n_layers": "depth", "n_heads": "num_heads", "hidden_dim": "mlp_dim"}
    words |= {"vocab_size": "vocab_size", "max_position_embeddings": "max_length"}
    return {theirs: arguments[ours] for theirs, ours in words.items()}


def run(model: Any, **inputs: Tensor) -> Outputs:
    """Every token, without a mask and with one; what the pooler makes of it."""
    types = inputs.get("token_types")
    whole = model(inputs["ids"], None, types)
    tokens = model(inputs["ids"], inputs["mask"], types)
    pooled = {} if model.pooler is None else {"pooled": model.pool(tokens)}
    return {"tokens, no mask": whole, "tokens": tokens, **pooled}


def run_transformers(model: Any, **inputs: Tensor) -> Outputs:
    """The same."""
    ids, types = inputs["ids"], {"token_type_ids": inputs["token_types"]} if "token_types" in inputs else {}
    whole = model(input_ids=ids, attention_mask=torch.ones_like(ids), **types).last_hidden_state
    answer = model(input_ids=ids, attention_mask=inputs["mask"], **types)
    pooled = getattr(answer, "pooler_output", None)
    return {
        "tokens, no mask": whole,
        "tokens": answer.last_hidden_state,
        **({} if pooled is None else {"pooled": pooled}),
    }


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Texts of several lengths in one batch, padded; two texts in each row where the model tells them apart."""
    length = min(arguments["max_length"], 40) - 1
    ids = torch.randint(1, arguments["vocab_size"], (batch, length), generator=generator)
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(batch):
        end = max(length - 2 - 3 * row, 2)
        ids[row, end:], mask[row, end:] = 0, 0
    if not arguments["token_types"]:
        return {"ids": ids, "mask": mask}
    types = torch.randint(0, arguments["token_types"], (batch, length), generator=generator)
    return {"ids": ids, "mask": mask, "token_types": types}


TINY: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "vocab_size": 50,
    "max_position_embeddings": 14,
    "type_vocab_size": 2,
}
TINY_DISTIL: dict[str, Any] = {
    "dim": 24,
    "n_layers": 3,
    "n_heads": 3,
    "hidden_dim": 40,
    "vocab_size": 50,
    "max_position_embeddings": 14,
}
OTHER: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "layer_norm_eps": 1e-5,
    "type_vocab_size": 3,
    "max_position_embeddings": 40,
    "pooler": False,
}
BASE: dict[str, Any] = {"vocab_size": 30522}
LARGE = {**BASE, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SHARED: dict[str, Any] = {
    "inputs": inputs,
    "run": run,
    "run_reference": run_transformers,
    "told": told,
    "open": open_transformers,
}
TRIALS = {"tiny": Trial(), "tiny, batch 4": Trial(seed=1, batch=4)}
REFERENCES = [
    Reference(
        model="BERT",
        library="transformers",
        system="bert",
        format="transformers",
        sizes=bert_sizes,
        **SHARED,
        build=build_bert,
        tiny=TINY,
        trials={
            **TRIALS,
            "other sizes": Trial(OTHER),
            "other sizes, batch 4": Trial(OTHER, seed=1, batch=4),
            # BERT-base's own width, heads and eps, one block deep and with a short vocabulary.
            "widths of base": Trial(
                {
                    "hidden_size": 768,
                    "num_attention_heads": 12,
                    "intermediate_size": 3072,
                    "num_hidden_layers": 1,
                    "vocab_size": 300,
                    "max_position_embeddings": 512,
                }
            ),
        },
        pairs=[("norm", "embeddings.LayerNorm"), ("blocks.{i}", "encoder.layer.{i}")],
        official={
            "google-bert/bert-base-uncased": BASE,
            "google-bert/bert-base-cased": {"vocab_size": 28996},
            "google-bert/bert-large-uncased": LARGE,
        },
    ),
    Reference(
        model="DistilBERT",
        library="transformers",
        system="bert",
        format="distilbert",
        sizes=distilbert_sizes,
        **SHARED,
        build=build_distilbert,
        tiny=TINY_DISTIL,
        trials=TRIALS,
        pairs=[("norm", "embeddings.LayerNorm"), ("blocks.{i}", "transformer.layer.{i}")],
        official={"distilbert/distilbert-base-uncased": {"vocab_size": 30522}},
    ),
]
