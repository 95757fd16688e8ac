"""BERT and DistilBERT: transformers' names, of two ages, <-> ours (lesson 2.7).

Google's first files, and all that were made from them, call a LayerNorm's scale and offset `gamma` and `beta`; newer
ones `weight` and `bias`. A model with heads has its encoder under `bert.` or `distilbert.`, an encoder alone has no
prefix. Every table reads both spellings of the norms and writes one. What no shape tells: the number of heads, 64
numbers wide in all released models.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.rules import STACK_ROWS, Row, Table
from checkpoints_convert.tables.system import EPSILON, HEADS, Architecture, Check, Format, System, count_blocks
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, read_json
from minimodels.words.word_piece import SPECIALS, check_vocabulary, read_vocabulary

WORDS = "predicts masked words in pre-training; no token's answer passes it"
NEXT = "tells in pre-training whether two texts follow each other"
TASK = "the head of another task"
COUNTER = "0, 1, 2 ... as a tensor, recomputed"
NEW, OLD = ("weight", "bias"), ("gamma", "beta")  # a norm's scale and offset


def norm_rows(theirs: str, ours: str, spelling: tuple[str, str]) -> list[Row]:
    """One LayerNorm: the spelling that is written first, the other one is read as well."""
    other = OLD if spelling == NEW else NEW
    return [
        (f"{theirs}.{their_part}", f"{ours}.{our_part}")
        for names in (spelling, other)
        for their_part, our_part in zip(names, NEW, strict=True)
    ]


def official_rows(prefix: str = "", spelling: tuple[str, str] = NEW) -> list[Row]:
    """BERT's encoder under a prefix."""
    layer, block = f"{prefix}encoder.layer.{{i}}", "blocks.{i}"
    rows: list[Row] = [
        (f"{prefix}embeddings.word_embeddings.weight", "token_embedding.weight"),
        (f"{prefix}embeddings.position_embeddings.weight", "pos"),
        (f"{prefix}embeddings.token_type_embeddings.weight", "token_type"),
        (f"{prefix}embeddings.position_ids", None, COUNTER),
        *norm_rows(f"{prefix}embeddings.LayerNorm", "norm", spelling),
        *norm_rows(f"{layer}.attention.output.LayerNorm", f"{block}.norm1", spelling),
        *norm_rows(f"{layer}.output.LayerNorm", f"{block}.norm2", spelling),
    ]
    for part in NEW:
        rows += [
            (f"{layer}.attention.self.{{query,key,value}}.{part}", f"{block}.attn.qkv.{part}", STACK_ROWS),
            (f"{layer}.attention.output.dense.{part}", f"{block}.attn.out_proj.{part}"),
            (f"{layer}.intermediate.dense.{part}", f"{block}.mlp.fc1.{part}"),
            (f"{layer}.output.dense.{part}", f"{block}.mlp.fc2.{part}"),
            (f"{prefix}pooler.dense.{part}", f"pooler.{part}"),
        ]
    return rows


def distil_rows(prefix: str = "") -> list[Row]:
    """DistilBERT's encoder under a prefix: no token types, no pooler."""
    layer, block = f"{prefix}transformer.layer.{{i}}", "blocks.{i}"
    rows: list[Row] = [
        (f"{prefix}embeddings.word_embeddings.weight", "token_embedding.weight"),
        (f"{prefix}embeddings.position_embeddings.weight", "pos"),
        (f"{prefix}embeddings.position_ids", None, COUNTER),
        *norm_rows(f"{prefix}embeddings.LayerNorm", "norm", NEW),
    ]
    for part in NEW:
        rows += [
            (f"{layer}.attention.{{q,k,v}}_lin.{part}", f"{block}.attn.qkv.{part}", STACK_ROWS),
            (f"{layer}.attention.out_lin.{part}", f"{block}.attn.out_proj.{part}"),
            (f"{layer}.sa_layer_norm.{part}", f"{block}.norm1.{part}"),
            (f"{layer}.ffn.lin1.{part}", f"{block}.mlp.fc1.{part}"),
            (f"{layer}.ffn.lin2.{part}", f"{block}.mlp.fc2.{part}"),
            (f"{layer}.output_layer_norm.{part}", f"{block}.norm2.{part}"),
        ]
    return rows


def head_rows() -> list[Row]:
    """What files hold beside the encoder. None of it changes what the encoder answers."""
    rows: list[Row] = [("cls.predictions.bias", None, WORDS)]
    layers = [
        ("cls.seq_relationship", NEXT),
        *((name, TASK) for name in ("classifier", "pre_classifier", "qa_outputs")),
    ]
    words = ("cls.predictions.transform.dense", "cls.predictions.decoder", "cls.predictions.transform.LayerNorm")
    layers += [(name, WORDS) for name in (*words, "vocab_transform", "vocab_layer_norm", "vocab_projector")]
    rows += [(f"{name}.{part}", None, reason) for name, reason in layers for part in NEW]
    return rows + [(f"cls.predictions.transform.LayerNorm.{part}", None, WORDS) for part in OLD]


def bert_class(arguments: Mapping[str, Any]) -> str:
    """transformers' encoder, which always tells two texts apart."""
    pooler = "" if arguments["pooler"] else ", built with add_pooling_layer=False"
    return f"transformers.BertModel{pooler}" if arguments["token_types"] else ""


def distilbert_class(arguments: Mapping[str, Any]) -> str:
    """The other one, which has neither token types nor a pooler."""
    return "" if arguments["token_types"] or arguments["pooler"] else "transformers.DistilBertModel"


FORMATS = {
    "google": Format(Table(official_rows("bert.", OLD) + head_rows()), marks=("bert.embeddings.LayerNorm.gamma",)),
    "transformers": Format(Table(official_rows()), takes=bert_class),
    "transformers_heads": Format(Table(official_rows("bert.") + head_rows())),
    "distilbert": Format(Table(distil_rows()), target="transformers", takes=distilbert_class),
    "distilbert_heads": Format(Table(distil_rows("distilbert.") + head_rows()), target="transformers"),
}
HEAD_DIM, NORM_EPS = 64, 1e-12


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; heads are 64 wide unless told."""
    vocab_size, embed_dim = tensors["token_embedding.weight"].shape
    return "BERT", {
        "vocab_size": vocab_size,
        "max_length": len(tensors["pos"]),
        "embed_dim": embed_dim,
        "depth": count_blocks(tensors, "blocks."),
        "num_heads": told.get("num_heads", embed_dim // HEAD_DIM),
        "mlp_dim": len(tensors["blocks.0.mlp.fc1.weight"]),
        "token_types": len(tensors["token_type"]) if "token_type" in tensors else 0,
        "pooler": "pooler.weight" in tensors,
        "norm_eps": told.get("norm_eps", NORM_EPS),
    }


def from_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers' config.json says beyond the shapes.

    Raises:
        UserError: another activation than the exact GELU, positions that are not a table, a decoder: no released BERT.
    """
    kind = config.get("model_type")
    if kind not in ("bert", "distilbert"):
        return {}
    usual = {"hidden_act": "gelu", "activation": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    for key, value in usual.items():
        if config.get(key, value) != value:
            raise UserError(f"this {kind} has {key} = {config[key]!r}; ours has {value!r}, as all released ones")
    told = {"num_heads": "n_heads" if kind == "distilbert" else "num_attention_heads", "norm_eps": "layer_norm_eps"}
    return {ours: config[theirs] for ours, theirs in told.items() if theirs in config}


def read_tokenizer(vocabulary: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """vocab.txt, or tokenizer.json where newer tools wrote one, as `minimodels.stored.models` stores a tokenizer.

    Case: as tokenizer_config.json says; without one, as the pieces say (an uncased vocabulary has no capital).

    Raises:
        UserError: it is no WordPiece vocabulary, or one that leaves Chinese characters together.
    """
    if vocabulary.suffix == ".json":
        model = Settings(read_json(vocabulary), str(vocabulary)).get("model")
        if not isinstance(model, dict) or model.get("type") != "WordPiece" or not isinstance(model.get("vocab"), dict):
            raise UserError(f"{vocabulary} holds no WordPiece vocabulary, which a BERT reads its texts with")
        pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
        check_vocabulary(pieces)
    else:
        pieces = read_vocabulary(vocabulary)
    if config.get("tokenize_chinese_chars") is False:
        raise UserError(
            f"{vocabulary.parent}: tokenize_chinese_chars is false; our tokenizer splits them, as BERT's do"
        )
    plain = [piece for piece in pieces if piece not in SPECIALS]
    return {
        "kind": "wordpiece",
        "vocabulary": pieces,
        "lowercase": config.get("do_lower_case", all(piece == piece.lower() for piece in plain)),
        "strip_accents": config.get("strip_accents"),
    }


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer, where its vocabulary lies beside the weights. There are no pictures to prepare."""
    if "vocabulary" not in beside:
        return {}
    about = read_tokenizer(Path(beside["vocabulary"]), beside.get("tokenizer_config", {}))
    if len(about["vocabulary"]) > arguments["vocab_size"]:
        raise UserError(
            f"{beside['vocabulary']} has {len(about['vocabulary'])} pieces, this BERT knows {arguments['vocab_size']}: "
            "it belongs to another model"
        )
    return {"tokenizer": {**about, "context_length": arguments["max_length"]}}


TOLD: dict[str, Check] = {"num_heads": HEADS, "norm_eps": EPSILON}
SYSTEM = System("bert", FORMATS, architecture, TOLD, from_config, surroundings)


# ---------------------------------------------------------------- the official checkpoints


def _bert(repo: str, revision: str, weights: File, note: str) -> Entry:
    """One BERT or DistilBERT in transformers' layout, its vocabulary beside it."""
    return Entry(
        name=repo,
        system="bert",
        format="distilbert_heads" if repo.startswith("distilbert") else "transformers_heads",
        licence="Apache-2.0",
        files=(weights, File("config.json"), File("vocab.txt"), File("tokenizer_config.json")),
        repo=repo,
        revision=revision,
        note=note,
        aliases=(repo.rpartition("/")[2],),  # bert-base-uncased, as it was once named
    )


ENTRIES: tuple[Entry, ...] = (
    _bert(
        "google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        File("model.safetensors", 440449768, "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3"),
        "BERT-base, lower case: LAVT's",
    ),
    _bert(
        "google-bert/bert-base-cased",
        "cd5ef92a9fb2f889e972770a36d4ed042daf221e",
        File("model.safetensors", 435755784, "1d8bdcee6021e2c25f0325e84889b61c2eb26b843eef5659c247af138d64f050"),
        "BERT-base that tells Apple from apple",
    ),
    _bert(
        "google-bert/bert-large-uncased",
        "6da4b6a26a1877e173fca3225479512db81a5e5b",
        File("model.safetensors", about=1344904432),
        "BERT-large, lower case",
    ),
    _bert(
        "distilbert/distilbert-base-uncased",
        "12040accade4e8a0f71eabdb258fecc2e7e948be",
        File("model.safetensors", 267954768, "5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063"),
        "DistilBERT, half of BERT-base's blocks",
    ),
)
