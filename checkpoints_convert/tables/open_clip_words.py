"""How CLIP's relatives read texts: WordPiece, framed as open_clip_config.json beside the weights says (lesson 3.7).

    tokenizer_mode "clips"                    the frame "clips"       what the authors of CLIPS mean
    tokenizer_kwargs {"strip_sep_token"}      the frame "no_end"      CLIPA, and what the authors' own repository runs
    neither                                   the frame "plain"       BiomedCLIP

The vocabulary is the one that lies beside the weights, else, where the config names BERT's, BERT's own where it is on
this machine. Without either a model converts all the same; who asks it for a text is told what is missing.
"""

import warnings
from pathlib import Path
from typing import Any

from checkpoints_convert.tables import bert, clip_configs
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, shown

BERT, BERT_REPO = "bert-base-uncased", "google-bert/bert-base-uncased"  # its older name and today's
LENT = {"bert_vocabulary": (BERT_REPO, "vocab.txt")}
MARKS = {"bos_token": "[unused0]", "eos_token": "[unused1]"}  # in the frame "clips"
SPARE = 0.1  # of a table's rows may have no piece: CLIPS has 32,000 rows for 30,522 pieces


def tokenizer(kind: str, rows: int, positions: int, usual: dict[str, Any], beside: Settings) -> dict[str, Any]:
    """What `minimodels.stored.models` stores of a tokenizer; where there is none, why.

    Args:
        kind: how a message calls our model.
        rows, positions: of the text tower's two tables.
        usual: frame, length of a row and the vocabulary's name where no config tells them.
        beside: what lies beside the weights; "bert_vocabulary" is the path of BERT's own vocabulary.

    Raises:
        UserError: a vocabulary of another model, a value of a wrong type, rows longer than the tower reads.
    """
    config = beside.inside("open_clip_config").inside("model_cfg")
    text = config.inside("text_cfg")
    if config and not text.text("hf_tokenizer_name", ""):  # open_clip then takes OpenAI's
        return clip_configs.tokenizer({"vocab_size": rows, "context_length": positions}, "open_clip", beside)
    about = {"frame": frame_of(text), "context_length": text.whole("context_length", 77)} if config else usual
    if about["context_length"] > positions:
        raise UserError(f"context_length in {text.where} is {about['context_length']}: the tower has {positions}")
    name = text.text("hf_tokenizer_name", usual["name"])
    lent = beside.text("bert_vocabulary", "") if name in (BERT, BERT_REPO) else ""
    vocabulary = beside.text("vocabulary", lent)
    if not vocabulary or not about["frame"]:
        why = strange(text) if not about["frame"] else f"place vocab.txt of {shown(name)} beside the weights"
        return {"kind": "none", "why": f"this {kind}'s texts cannot be read: {why}; or give it ids (encode_text)"}
    words = read_words(kind, rows, Path(vocabulary), about["frame"], beside)
    if not config:
        say_frame(about["frame"])
    return {**words, "kind": "word_rows", "frame": about["frame"], "context_length": about["context_length"]}


def frame_of(text: Settings) -> str:
    """The frame that a config tells; empty where it tells of more than our tokenizer can."""
    if strange(text):
        return ""
    if text.text("tokenizer_mode", ""):
        return "clips"
    return "no_end" if text.inside("tokenizer_kwargs").truth("strip_sep_token", False) else "plain"


def strange(text: Settings) -> str:
    """What a config tells that our tokenizer does not do."""
    told = text.inside("tokenizer_kwargs")
    if text.get("tokenizer_mode", "") not in ("", "clips"):
        return f"tokenizer_mode in {text.where} is {shown(text['tokenizer_mode'])}, which ours does not know"
    for key in told:
        if key != "strip_sep_token" and (key, told[key]) != ("clean", "whitespace"):
            return f"{key} in {told.where} is {shown(told[key])}, which ours does not know"
    return ""


def read_words(kind: str, rows: int, path: Path, frame: str, beside: Settings) -> dict[str, Any]:
    """The vocabulary, where it fits the tower's table.

    Raises:
        UserError: it has more pieces than the table rows, or far fewer; other marks than ours around a text.
    """
    config = beside.inside("tokenizer_config")
    words = bert.read_tokenizer(path, config if "tokenizer_config" in beside else None)
    pieces = words["vocabulary"]
    if not (1 - SPARE) * rows <= len(pieces) <= rows:
        raise UserError(
            f"{path} has {len(pieces):,} pieces, this {kind} {rows:,} rows for them: it is another model's, or not "
            "whole; place the vocabulary of these weights there"
        )
    for key, piece in MARKS.items() if frame == "clips" else ():
        bert.expect_piece(config, key, piece, why="our CLIPS has these marks around a text")
        if piece not in pieces:
            raise UserError(f"{path} lacks {piece}, with which a CLIPS marks a text: the vocabulary is another model's")
    return words


def say_frame(frame: str) -> None:
    """Say what no config told."""
    warnings.warn(
        f'no open_clip_config.json beside these weights tells how a text is framed: "{frame}" is assumed, as in the '
        "released models (minimodels/words/word_rows.py)",
        stacklevel=2,
    )
