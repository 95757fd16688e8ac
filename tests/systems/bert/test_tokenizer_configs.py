"""tokenizer_config.json and tokenizer.json: every key at an unusual value beside transformers' own tokenizer."""

import json

import pytest

from checkpoints_convert.load import load
from checkpoints_convert.tables.bert import read_tokenizer, read_tokenizer_json
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings
from minimodels.stored.models import tokenizer_from_dict
from minimodels.words.word_piece import SPECIALS
from tests.systems.bert.test_files import write_folder

PIECES = [*SPECIALS, "cafe", "café", "Cafe", "Café", "a", "A", "##s", "猫", "猫猫", "Ä", "ä", "[MASK]x", "!"]
TEXTS = ["Café cafés A ä Ä!", "a 猫猫 [MASK] [SEP]", "CAFÉ", ""]
SAME, REFUSED = "the library's ids", "refused"
KEYS = [
    ({}, SAME),
    ({"do_lower_case": True}, SAME),
    ({"do_lower_case": False}, SAME),
    ({"do_lower_case": True, "strip_accents": False}, SAME),
    ({"do_lower_case": False, "strip_accents": True}, SAME),
    ({"do_lower_case": False, "strip_accents": None}, SAME),
    ({"tokenize_chinese_chars": True}, SAME),
    ({"tokenize_chinese_chars": False}, REFUSED),
    ({"do_basic_tokenize": False, "never_split": ["a"]}, SAME),  # of the older tokenizer, passed over today
    ({"unk_token": "[UNK]", "cls_token": {"__type": "AddedToken", "content": "[CLS]", "lstrip": False}}, SAME),
    ({"unk_token": "a"}, REFUSED),
    ({"cls_token": "a"}, REFUSED),
    ({"sep_token": {"content": "!"}}, REFUSED),
    ({"pad_token": "a"}, REFUSED),
    ({"mask_token": "!"}, REFUSED),
    ({"padding_side": "right", "truncation_side": "right"}, SAME),
    ({"padding_side": "left"}, REFUSED),
    ({"truncation_side": "left"}, REFUSED),
    ({"model_max_length": 4}, SAME),
    ({"model_max_length": 1000000000000000019884624838656}, SAME),
    ({"tokenizer_class": "DistilBertTokenizer"}, SAME),
    ({"tokenizer_class": "BertJapaneseTokenizer"}, REFUSED),
]


def theirs_of(folder, **changes):
    from transformers import BertTokenizer

    return BertTokenizer.from_pretrained(folder, **changes)


@pytest.mark.parametrize("config, verdict", KEYS, ids=[str(config) for config, _ in KEYS])
@pytest.mark.parametrize("words", ["vocab.txt", "tokenizer.json"])
def test_each_key_at_an_unusual_value(config, verdict, words, tmp_path):
    write_folder(tmp_path, PIECES, words)
    written = {"tokenizer_class": "BertTokenizer", **config}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(written))
    if verdict == REFUSED:
        with pytest.raises(UserError, match=rf"^{next(iter(config))} in tokenizer_config.* is .*, expected") as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)
        return
    ours, theirs = load(tmp_path).tokenize, theirs_of(tmp_path)
    room = min(config.get("model_max_length", 14), 14)
    expected = theirs(TEXTS, truncation=True, max_length=room, padding=True)["input_ids"]
    assert ours(TEXTS, truncate=True)[0].tolist() == expected and ours.context_length == room


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False, None])
def test_what_only_tokenizer_json_says(lowercase, strip_accents, tmp_path):
    write_folder(tmp_path, PIECES, "tokenizer.json", do_lower_case=lowercase, strip_accents=strip_accents)
    expected = theirs_of(tmp_path)(TEXTS, padding=True)["input_ids"]
    assert load(tmp_path).tokenize(TEXTS)[0].tolist() == expected
    (tmp_path / "tokenizer_config.json").unlink()
    assert load(tmp_path).tokenize(TEXTS)[0].tolist() == expected


def json_of(**changes) -> dict:
    whole = {
        "added_tokens": [{"content": piece} for piece in SPECIALS],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {piece: n for n, piece in enumerate(PIECES)}},
    }
    for path, value in changes.items():
        part, _, key = path.partition("__")
        whole[part] = {**whole[part], key: value} if key else value
    return whole


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model__type": "BPE"}, "no WordPiece vocabulary"),
        ({"model__type": "WordPiece", "model__vocab": PIECES}, "no WordPiece vocabulary"),
        ({"model__vocab": {piece: piece for piece in PIECES}}, "does not number its pieces 0, 1, 2"),
        ({"model__vocab": {piece: n + 1 for n, piece in enumerate(PIECES)}}, "does not number its pieces 0, 1, 2"),
        ({"model__vocab": dict.fromkeys(PIECES, 0)}, "does not number its pieces 0, 1, 2"),
        ({"model__vocab": {piece: n == 1 for n, piece in enumerate(PIECES[:2])}}, "does not number its pieces"),
        ({"model__vocab": {piece: n for n, piece in enumerate(PIECES[2:])}}, r"lack \[PAD\] \[UNK\]"),
        ({"model__unk_token": "a"}, "unk_token in model in .* our tokenizer is BERT's"),
        ({"model__continuing_subword_prefix": "@@"}, "continuing_subword_prefix .* our tokenizer is BERT's"),
        ({"model__max_input_chars_per_word": 7}, "max_input_chars_per_word .* our tokenizer is BERT's"),
        ({"normalizer__type": "Lowercase"}, "type in normalizer in .* our tokenizer is BERT's"),
        ({"normalizer__clean_text": False}, "clean_text in normalizer in .* our tokenizer is BERT's"),
        ({"normalizer__handle_chinese_chars": False}, "handle_chinese_chars .* our tokenizer is BERT's"),
        ({"normalizer__lowercase": "no"}, "lowercase in normalizer in .* expected true or false"),
        ({"normalizer__strip_accents": 1}, "strip_accents in normalizer in .* expected true or false"),
        ({"added_tokens": [{"content": "new"}]}, "added_tokens in .* are more than BERT's own"),
        ({"added_tokens": 5}, "added_tokens in .* are more than BERT's own"),
        ({"added_tokens": ["[PAD]"]}, "added_tokens in .* are more than BERT's own"),
        ({"model": 5}, "model in .* is 5, expected a JSON object"),
        ({"normalizer": [1]}, r"normalizer in .* is \[1\], expected a JSON object"),
    ],
)
def test_a_tokenizer_json_that_is_not_berts(changes, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json_of()))
    assert read_tokenizer_json(path)[0] == PIECES and read_tokenizer(path, None)["lowercase"] is True
    path.write_text(json.dumps(json_of(**changes)))
    with pytest.raises(UserError, match=message):
        read_tokenizer(path, None)


def test_pieces_in_the_order_of_their_ids(tmp_path):
    backwards = {piece: n for n, piece in reversed(list(enumerate(PIECES)))}
    (tmp_path / "tokenizer.json").write_text(json.dumps(json_of(model__vocab=backwards)))
    assert read_tokenizer(tmp_path / "tokenizer.json", None)["vocabulary"] == PIECES


def test_strip_accents_reaches_the_tokenizer(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES))
    for told, piece in ((True, "cafe"), (False, "café"), (None, "cafe")):
        about = read_tokenizer(path, Settings({"strip_accents": told}, "tokenizer_config.json"))
        assert about["strip_accents"] is told
        assert tokenizer_from_dict({**about, "context_length": 9}).pieces("Café") == [piece]
