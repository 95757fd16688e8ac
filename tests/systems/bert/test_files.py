"""BERT's files: transformers' names old and new, with heads and without, our own; and the words beside them."""

import json

import pytest
import torch

from checkpoints_convert import build, export
from checkpoints_convert.fetching import hub
from checkpoints_convert.load import load
from checkpoints_convert.proof.references.bert import TINY, TINY_DISTIL
from checkpoints_convert.proof.suite import twins
from checkpoints_convert.proof.verify import difference, redraw_all
from checkpoints_convert.tables import SYSTEMS
from checkpoints_convert.tables.system import detect
from minimodels.errors import UserError
from minimodels.stored import models
from minimodels.words.word_piece import SPECIALS, WordPieceTokenizer
from tests.systems.bert.small import DISTIL, REFERENCE, SMALL, small

# ---------------------------------------------------------------- files


def same_state(a, b) -> None:
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


def library_files() -> dict[str, tuple]:
    """State dicts as files have them: an encoder, one with heads, Google's spelling, both of DistilBERT."""
    from transformers import (
        BertConfig,
        BertForPreTraining,
        BertForSequenceClassification,
        DistilBertConfig,
        DistilBertForMaskedLM,
        DistilBertModel,
    )

    config = BertConfig(**TINY)
    whole = redraw_all(BertForPreTraining(config)).state_dict()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in whole.items()
    }
    alone = {name.removeprefix("bert."): tensor for name, tensor in whole.items() if name.startswith("bert.")}
    old_alone = {name.removeprefix("bert."): tensor for name, tensor in old.items() if name.startswith("bert.")}
    distil = redraw_all(DistilBertForMaskedLM(DistilBertConfig(**TINY_DISTIL))).state_dict()
    return {
        "encoder": ("transformers", alone),
        "encoder, old names": ("transformers", old_alone),
        "encoder with the counters of older files": (
            "transformers",
            {**alone, "embeddings.position_ids": torch.arange(14)[None]},
        ),
        "with heads": ("transformers_heads", whole),
        "Google's": ("google", old),
        "a classifier": (
            "transformers_heads",
            redraw_all(BertForSequenceClassification(config)).state_dict(),
        ),
        "DistilBERT": ("distilbert", redraw_all(DistilBertModel(DistilBertConfig(**TINY_DISTIL))).state_dict()),
        "DistilBERT with heads": ("distilbert_heads", distil),
    }


@pytest.mark.parametrize("name", library_files())
def test_every_spelling_is_read_and_written(name):
    format_name, tensors = library_files()[name]
    assert detect(tensors, SYSTEMS) == ("bert", format_name)
    model = build(tensors, "bert", num_heads=3)
    assert model.about["format"] == format_name
    dropped = SYSTEMS["bert"].formats[format_name].table.convert(tensors).dropped
    assert all(reason for reason in dropped.values())
    exported = export(model, format_name)
    again = build(exported, "bert", num_heads=3)
    same_state(again, model)
    if "old names" not in name:
        assert exported.keys() == tensors.keys() - dropped.keys()
        assert all(torch.equal(tensor, tensors[key]) for key, tensor in exported.items())


@pytest.mark.parametrize("reference", [REFERENCE, DISTIL], ids=["BERT", "DistilBERT"])
def test_export_loads_strictly_in_transformers(reference):
    twin = twins(reference)
    fresh = reference.build(**twin.sizes)
    fresh.load_state_dict(export(twin.ours, reference.format), strict=True)
    with torch.no_grad():
        left, right = (reference.run_reference(model.double(), **twin.inputs) for model in (fresh.eval(), twin.theirs))
    assert all(difference(left[name], right[name]) <= 1e-10 for name in right)


def test_formats_that_cannot_hold_the_model():
    bert = build(library_files()["encoder"][1], "bert", num_heads=3)
    with pytest.raises(UserError, match="'distilbert' cannot hold this BERT"):
        export(bert, "distilbert")


def test_damaged_files_are_told_whole():
    tensors = dict(library_files()["with heads"][1])
    del tensors["bert.encoder.layer.1.output.LayerNorm.bias"]
    tensors["bert.encoder.layer.9.surprise"] = torch.zeros(2)
    with pytest.raises(UserError, match="unknown name in the checkpoint: bert.encoder.layer.9.surprise.*missing: our"):
        build(tensors, "bert", num_heads=3)
    tensors = dict(library_files()["encoder"][1])
    tensors["embeddings.LayerNorm.gamma"] = tensors["embeddings.LayerNorm.weight"]
    with pytest.raises(UserError, match="norm.weight is given twice"):
        build(tensors, "bert", num_heads=3)
    tensors = dict(library_files()["encoder"][1])
    del tensors["embeddings.token_type_embeddings.weight"]  # only DistilBERT has none
    with pytest.raises(UserError, match="token_type"):
        build(tensors, "bert", num_heads=3)
    with pytest.raises(UserError, match="24 cannot be split into 5 heads"):
        build(library_files()["encoder"][1], "bert", num_heads=5)


# ---------------------------------------------------------------- with its words beside

PIECES = [*SPECIALS, "a", "cat", "on", "mat", "##s", "##mat", "the", "[unused0]", "!"]


def write_folder(folder, pieces=PIECES, words="vocab.txt", **config):
    from transformers import BertTokenizer

    theirs = redraw_all(REFERENCE.build(**TINY)).float()
    theirs.save_pretrained(folder)
    if words == "vocab.txt":
        (folder / words).write_text("\n".join(pieces) + "\n", encoding="utf-8")
        if config:
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
    else:
        (folder / "source.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        BertTokenizer(vocab=str(folder / "source.txt"), **config).save_pretrained(folder)
    return theirs


@pytest.mark.parametrize("words", ["vocab.txt", "tokenizer.json"])
def test_a_folder_of_save_pretrained(tmp_path, words):
    theirs = write_folder(tmp_path, words=words, do_lower_case=True)
    model = load(tmp_path)
    assert model.about["arguments"]["num_heads"] == 3
    ids, mask = model.tokenize(["The cats on a mat!", "", "a matmat"])
    assert ids.tolist() == [[2, 11, 6, 9, 7, 5, 8, 13, 3], [2, 3] + [0] * 7, [2, 5, 8, 10, 3] + [0] * 4]
    with torch.no_grad():
        expected = theirs.double()(input_ids=ids, attention_mask=mask).last_hidden_state
        assert difference(model.double()(ids, mask), expected) <= 1e-10
    with pytest.raises(UserError, match="takes 502 ids, the limit is 14"):
        model.tokenize("cat " * 500)
    assert model(*model.tokenize("cat " * 500, truncate=True)).shape == (1, 14, 24)


def test_upper_and_lower_case(tmp_path):
    """What tokenizer_config.json says; without one, whether the vocabulary has capitals."""
    for number, (pieces, config, expected) in enumerate(
        [
            (PIECES, {"do_lower_case": False}, [1]),
            (PIECES, {}, [6]),
            ([*PIECES, "Cat"], {}, [14]),
            ([*PIECES, "Cat"], {"do_lower_case": True}, [6]),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_folder(folder, pieces, **config)
        assert load(folder).tokenize("Cat")[0][0, 1:-1].tolist() == expected


def test_words_that_do_not_belong(tmp_path):
    for number, (text, message) in enumerate(
        [
            ("\n".join([*PIECES, *map(str, range(40))]), "has 54 pieces, this BERT knows 50"),
            ("cats\nand\ndogs", "cannot be used as a vocabulary.*these 3 lines lack"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_folder(folder)
        (folder / "vocab.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            load(folder)
    (folder / "vocab.txt").unlink()
    assert not hasattr(load(folder), "tokenize")
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}')
    with pytest.raises(UserError, match="holds no WordPiece vocabulary"):
        load(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(PIECES))
    (folder / "tokenizer_config.json").write_text('{"tokenize_chinese_chars": false}')
    with pytest.raises(UserError, match="tokenize_chinese_chars in .* is false"):
        load(folder)


def test_our_own_file_keeps_everything(tmp_path):
    model = small().float().eval()
    about = {"class": "BERT", "system": "bert", "arguments": SMALL}
    about["tokenizer"] = {"kind": "wordpiece", "vocabulary": PIECES, "context_length": 5, "keep_end": False}
    models.save(tmp_path / "m.safetensors", model, about)
    again = models.open_file(tmp_path / "m.safetensors")
    same_state(again, model)
    ids, mask = again.tokenize("The cat on the mat", truncate=True)
    assert ids.tolist() == [[2, 11, 6, 7, 11]] and mask.sum() == 5  # as LAVT cuts: no [SEP]
    assert difference(again.double()(ids, mask), model.double()(ids, mask)) <= 1e-10
    assert isinstance(again.tokenize, WordPieceTokenizer)


def test_the_catalogue_names_them():
    for name, form in [("bert-base-uncased", "transformers_heads"), ("distilbert-base-uncased", "distilbert_heads")]:
        entry = hub.find(name)
        assert entry.system == "bert" and entry.format == form and entry.weights.sha256
        assert "vocab.txt" in [file.name for file in entry.files]
