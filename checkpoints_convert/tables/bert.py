"""BERT and DistilBERT: transformers' names, of two ages, <-> ours (lesson 2.7).

Google's first files, and all that were made from them, call a LayerNorm's scale and offset `gamma` and `beta`; newer
ones `weight` and `bias`. A model with heads has its encoder under `bert.` or `distilbert.`, an encoder alone has no
prefix. Every table reads both spellings of the norms and writes one. What no shape tells, heads and epsilon, stands in
config.json; where it is missing, a warning says what is assumed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints_convert.tables.assumed import check_sizes, heads_of, say_assumed
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.rules import STACK_ROWS, Row, Table
from checkpoints_convert.tables.system import EPSILON, HEADS, Architecture, Check, Format, System, count_blocks
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, read_json, shown, whole
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


NORM_EPS = 1e-12  # in all released models
DISTIL_TOLD = {"norm_eps": NORM_EPS, "one_text": True}  # the library's code has no other epsilon, and no token types
FORMATS = {
    "google": Format(Table(official_rows("bert.", OLD) + head_rows()), marks=("bert.embeddings.LayerNorm.gamma",)),
    "transformers": Format(Table(official_rows()), takes=bert_class),
    "transformers_heads": Format(Table(official_rows("bert.") + head_rows())),
    "distilbert": Format(Table(distil_rows()), DISTIL_TOLD, target="transformers", takes=distilbert_class),
    "distilbert_heads": Format(Table(distil_rows("distilbert.") + head_rows()), DISTIL_TOLD, target="transformers"),
}
# Heads by width. Of width 384 there are released models with 6 heads and with 12, so that it must be told.
HEADS_OF = {128: 2, 256: 4, 512: 8, 768: 12, 1024: 16}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; heads and epsilon as told, else as in the released models of this width, said aloud.

    Raises:
        UserError: a told size that the shapes contradict; a width of no released model, and no heads told.
    """
    vocab_size, embed_dim = tensors["token_embedding.weight"].shape
    assumed: dict[str, Any] = {} if "norm_eps" in told else {"norm_eps": NORM_EPS}
    if "num_heads" not in told:
        assumed["num_heads"] = heads_of(embed_dim, HEADS_OF, "num_heads")
    if assumed:
        say_assumed(assumed)
    arguments = {
        "vocab_size": vocab_size,
        "max_length": len(tensors["pos"]),
        "embed_dim": embed_dim,
        "depth": count_blocks(tensors, "blocks."),
        "num_heads": {**assumed, **told}["num_heads"],
        "mlp_dim": len(tensors["blocks.0.mlp.fc1.weight"]),
        "token_types": 0 if told.get("one_text") else len(tensors["token_type"]),
        "pooler": "pooler.weight" in tensors,
        "norm_eps": {**assumed, **told}["norm_eps"],
    }
    check_sizes(arguments, told, SIZES)
    return "BERT", arguments


# Each size by its key in config.json, with the library's default.
BERT_KEYS = {
    "num_heads": ("num_attention_heads", 12),
    "vocab_size": ("vocab_size", 30522),
    "max_length": ("max_position_embeddings", 512),
    "embed_dim": ("hidden_size", 768),
    "depth": ("num_hidden_layers", 12),
    "mlp_dim": ("intermediate_size", 3072),
    "token_types": ("type_vocab_size", 2),
}
DISTIL_KEYS = {
    "num_heads": ("n_heads", 12),
    "vocab_size": ("vocab_size", 30522),
    "max_length": ("max_position_embeddings", 512),
    "embed_dim": ("dim", 768),
    "depth": ("n_layers", 6),
    "mlp_dim": ("hidden_dim", 3072),
}
ALSO_DISTIL = {"n_heads": "num_attention_heads", "dim": "hidden_size", "n_layers": "num_hidden_layers"}


def from_config(config: Settings) -> dict[str, Any]:
    """What transformers' config.json says.

    Raises:
        UserError: a value of a wrong type; another model with BERT's names (RoBERTa counts its positions from 2);
            another activation than the exact GELU, positions that are not a table, a decoder: no released BERT.
    """
    if not config.keys() & {"model_type", *(key for key, _ in (*BERT_KEYS.values(), *DISTIL_KEYS.values()))}:
        return {}  # somebody else's
    kind = config.get("model_type", "distilbert" if config.keys() & {"dim", "n_heads"} else "bert")
    config.expect("model_type", "bert", "distilbert", why="these weights have BERT's names")
    usual = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    for key, value in {"activation": "gelu"}.items() if kind == "distilbert" else usual.items():
        config.expect(key, value, why="as in all released ones")
    if kind == "distilbert":
        aliases = {key: key if also not in config else also for key, also in ALSO_DISTIL.items()}
        return {ours: config.whole(aliases.get(key, key), usual) for ours, (key, usual) in DISTIL_KEYS.items()}
    told = {ours: config.whole(key, usual) for ours, (key, usual) in BERT_KEYS.items()}
    return {**told, "norm_eps": config.number("layer_norm_eps", NORM_EPS, above=0, most=1)}


def read_tokenizer(vocabulary: Path, config: Settings | None) -> dict[str, Any]:
    """vocab.txt, or tokenizer.json where newer tools wrote one, as `minimodels.stored.models` stores a tokenizer.

    Case: as tokenizer_config.json says, and tokenizer.json; without any, as the pieces say (an uncased vocabulary has
    no capital).

    Raises:
        UserError: it is no WordPiece vocabulary, or one that reads texts in another way than BERT's.
    """
    if vocabulary.suffix == ".json":
        pieces, inside = read_tokenizer_json(vocabulary)
    else:
        pieces, inside = read_vocabulary(vocabulary), Settings({}, str(vocabulary))
    told = config or Settings({}, "tokenizer_config.json")
    told.expect("tokenize_chinese_chars", True, why="our tokenizer splits them, as BERT's do")
    told.expect("tokenizer_class", *CLASSES, why="our tokenizer is BERT's")
    for key in ("padding_side", "truncation_side"):
        told.expect(key, "right", why="our tokenizer pads and cuts there, as BERT's do")
    for key, piece in SPECIAL_KEYS.items():
        expect_piece(told, key, piece, why="our tokenizer is BERT's")
    plain = [piece for piece in pieces if piece not in SPECIALS]
    usual = True if config is not None else all(piece == piece.lower() for piece in plain)
    return {
        "kind": "wordpiece",
        "vocabulary": pieces,
        "lowercase": told.truth("do_lower_case", inside.truth("lowercase", usual)),
        "strip_accents": told.truth("strip_accents", inside.truth("strip_accents", None)),
    }


def expect_piece(config: Settings, key: str, piece: str, *, why: str) -> None:
    """Raise UserError where a tokenizer's config names another special piece, as a text or as an object with one."""
    content = config[key].get("content") if isinstance(config.get(key), dict) else config.get(key, piece)
    if content != piece:
        raise UserError(f"{key} in {config.where} is {shown(content)}, expected {piece}: {why}")


SPECIAL_KEYS = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
CLASSES = (
    *("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast"),
    *("PreTrainedTokenizerFast", "TokenizersBackend"),
)


def read_tokenizer_json(path: Path) -> tuple[list[str], Settings]:
    """The pieces of a tokenizer.json in the order of their ids, and how it normalises.

    Raises:
        UserError: it is no WordPiece vocabulary, or one that reads texts in another way than BERT's.
    """
    whole = Settings(read_json(path), str(path))
    model, normalizer = whole.inside("model"), whole.inside("normalizer")
    vocabulary = model.get("vocab")
    if model.get("type") != "WordPiece" or not isinstance(vocabulary, dict):
        raise UserError(f"{path} holds no WordPiece vocabulary, which a BERT reads its texts with")
    if not all(type(number) is int for number in vocabulary.values()) or (
        sorted(vocabulary.values()) != list(range(len(vocabulary)))
    ):
        raise UserError(f"{path} does not number its pieces 0, 1, 2 ...")
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    check_vocabulary(pieces)
    for key, value in {
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }.items():
        model.expect(key, value, why="our tokenizer is BERT's")
    for key, value in {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}.items():
        normalizer.expect(key, value, why="our tokenizer is BERT's")
    added = whole.get("added_tokens", [])
    if not isinstance(added, list) or not all(
        isinstance(one, dict) and one.get("content") in SPECIALS for one in added
    ):
        raise UserError(f"added_tokens in {path} are more than BERT's own: our tokenizer does not have them")
    return pieces, normalizer


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """The tokenizer, where its vocabulary lies beside the weights. There are no pictures to prepare."""
    if "vocabulary" not in beside:
        return {}
    config = beside.inside("tokenizer_config") if "tokenizer_config" in beside else None
    about = read_tokenizer(Path(beside["vocabulary"]), config)
    if len(about["vocabulary"]) > arguments["vocab_size"]:
        raise UserError(
            f"{beside['vocabulary']} has {len(about['vocabulary'])} pieces, this BERT knows {arguments['vocab_size']}: "
            "it belongs to another model"
        )
    most = arguments["max_length"]
    longest = config.number("model_max_length", most, above=2) if config is not None else most
    return {"tokenizer": {**about, "context_length": min(most, int(longest))}}


SIZES = ("vocab_size", "max_length", "embed_dim", "depth", "mlp_dim", "token_types")
TOLD: dict[str, Check] = {"num_heads": HEADS, "norm_eps": EPSILON, **dict.fromkeys(SIZES, whole)}
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
