"""Which rows a CLIPS reads: chosen by the config beside the weights, equal to open_clip's; the two of the facts."""

import json

import open_clip
import pytest
import torch

from checkpoints_convert.fetching import hub
from checkpoints_convert.load import load
from checkpoints_convert.proof.references.clips import TINY_TEXT, TINY_VISION
from minimodels.errors import UserError
from tests.systems.biomedclip.small import PIECES, write_words
from tests.systems.biomedclip.test_files import TEXTS
from tests.systems.clip.test_configs import save

CONTEXT = 12
TEXT = {**TINY_TEXT, "context_length": CONTEXT, "vocab_size": len(PIECES) + 2, "hf_tokenizer_name": "bert-base-uncased"}
MARKS = {"bos_token": "[unused0]", "eos_token": "[unused1]"}
STRIP = {"tokenizer_kwargs": {"strip_sep_token": True}}


def folder_of(folder, words=True, **told):
    config = {"embed_dim": 20, "vision_cfg": {**TINY_VISION}, "text_cfg": TEXT}
    save(config, folder)
    write = {**config, "text_cfg": {**TEXT, **told}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": write}))
    if words:
        write_words(folder, **MARKS)
    return folder


@pytest.mark.parametrize(
    "told, frame",
    [
        (STRIP, "no_end"),
        ({"tokenizer_mode": "clips"}, "clips"),
        ({"tokenizer_mode": "clips", **STRIP}, "clips"),
        ({}, "plain"),
        ({"tokenizer_kwargs": {"clean": "whitespace", "strip_sep_token": False}}, "plain"),
    ],
    ids=str,
)
def test_the_config_tells_the_frame(told, frame, tmp_path):
    folder = folder_of(tmp_path, **told)
    ours = load(folder).tokenize
    assert ours.frame == frame
    assert torch.equal(ours(TEXTS, truncate=True), open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS))


def test_without_a_config_the_authors_own_way(tmp_path):
    """80 tokens are a CLIPS', whose wrapper puts [CLS] last; any other context is read as CLIPA's. Both are said."""
    folder_of(tmp_path, **STRIP)
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.warns(UserWarning, match='how a text is framed: "no_end" is assumed'):
        assert load(tmp_path, vision_heads=3, text_heads=4).tokenize.frame == "no_end"
    long = tmp_path / "long"
    long.mkdir()
    save({"embed_dim": 20, "vision_cfg": {**TINY_VISION}, "text_cfg": {**TEXT, "context_length": 80}}, long)
    (long / "open_clip_config.json").unlink()
    write_words(long)
    with pytest.warns(UserWarning, match='how a text is framed: "clips" is assumed'):
        row = load(long, vision_heads=3, text_heads=4).tokenize("the lung")[0]
    assert row[:5].tolist() == [5, 10, 11, 6, 0] and row[-1] == 2 and len(row) == 80


def test_other_marks_are_refused(tmp_path):
    folder_of(tmp_path, tokenizer_mode="clips")
    write_words(tmp_path, bos_token="[CLS]", eos_token="[unused1]")
    with pytest.raises(UserError, match=r'bos_token in tokenizer_config in .* is "\[CLS\]", expected \[unused0\]'):
        load(tmp_path)
    write_words(tmp_path, [piece.replace("unused", "spare") for piece in PIECES], **MARKS)
    with pytest.raises(UserError, match=r"lacks \[unused0\], with which a CLIPS marks a text"):
        load(tmp_path)


@pytest.mark.parametrize("name, words", [("bert-base-uncased", "bert-base-uncased"), ("google/mt5-base", "mt5-base")])
def test_without_words(name, words, tmp_path, monkeypatch):
    """BERT's are lent where they are on this machine and are the ones that the config names."""
    monkeypatch.setattr(hub, "local_file", lambda entry, name: None)
    folder = folder_of(tmp_path, words=False, hf_tokenizer_name=name)
    with pytest.raises(UserError, match=f"this CLIPS's texts cannot be read: place vocab.txt of .*{words}"):
        load(folder).tokenize("a lung")


def test_berts_words_are_lent(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, words=False, **STRIP)
    lent = tmp_path / "lent"
    lent.mkdir()
    write_words(lent)
    monkeypatch.setattr(hub, "local_file", lambda entry, name: lent / name)
    assert load(folder).tokenize("the lung")[0, :4].tolist() == [2, 10, 11, 0]


def test_openais_where_no_words_are_named(tmp_path):
    """As open_clip does."""
    folder = folder_of(tmp_path, hf_tokenizer_name="")
    with pytest.raises(UserError, match="it knows 34 ids, OpenAI's tokenizer, the only one here, has 49,408"):
        load(folder).tokenize("a lung")
    assert type(open_clip.get_tokenizer(f"local-dir:{folder}")).__name__ == "SimpleTokenizer"
