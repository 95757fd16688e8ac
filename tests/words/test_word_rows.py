"""Rows of WordPiece ids: three frames by hand, cutting, and what a file or a caller may get wrong."""

import pytest
import torch

from minimodels.errors import UserError
from minimodels.stored.classes import tokenizer_kinds
from minimodels.stored.models import tokenizer_from_dict
from minimodels.terminal import door
from minimodels.words.word_rows import WordRows

PIECES = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "##s", "on", "grass"]
FRAMED = {
    "clips": [1, 7, 8, 9, 10, 2, 0, 0, 0, 4],
    "no_end": [4, 7, 8, 9, 10, 0, 0, 0, 0, 0],
    "plain": [4, 7, 8, 9, 10, 5, 0, 0, 0, 0],
}
FULL = {"clips": [1, 7, 8, 2, 4], "no_end": [4, 7, 8, 9, 0], "plain": [4, 7, 8, 9, 5]}


@pytest.mark.parametrize("frame", FRAMED)
def test_each_frame_by_hand(frame):
    rows = WordRows(PIECES, context_length=10, frame=frame)
    assert rows(["Dogs on GRASS", "a  dog"])[0].tolist() == FRAMED[frame] and rows("a dog").dtype == torch.int64
    assert rows("a zebra")[0].tolist()[1:3] == [6, 3]  # no piece begins like it: the word is unknown


@pytest.mark.parametrize("frame", FULL)
def test_a_text_that_does_not_fit_is_refused_or_cut(frame):
    rows = WordRows(PIECES, context_length=5, frame=frame)
    with pytest.raises(UserError, match="5"):
        rows("dogs on grass")
    assert rows("dogs on grass", truncate=True)[0].tolist() == FULL[frame]
    exact = "dogs" if frame == "clips" else "dogs on"
    assert torch.equal(rows(exact), rows("dogs on grass", truncate=True))


@pytest.mark.parametrize("frame, told", [("clips", "takes 7 tokens"), ("plain", "takes 6 tokens")])
def test_the_notice_of_a_cut_counts_the_frame(frame, told, capsys):
    door.warn_of_cut("dogs on grass", "label", WordRows(PIECES, context_length=4, frame=frame))
    assert told in capsys.readouterr().err
    door.warn_of_cut("dogs on grass", "label", WordRows(PIECES, context_length=7, frame=frame))
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "change, words", [({"frame": "both"}, "the frame 'both' is none"), ({"context_length": 3}, "3")]
)
def test_rows_that_none_can_make(change, words):
    with pytest.raises(UserError, match=words):
        WordRows(PIECES, **change)
    with pytest.raises(UserError, match="lack"):
        WordRows(PIECES[:3])


def test_marks_are_found_in_the_vocabulary():
    moved = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "[unused1]", "[unused0]"]
    assert WordRows(moved, context_length=6)("a [UNK]")[0].tolist() == [6, 4, 1, 5, 0, 2]
    with pytest.raises(UserError, match=r"the vocabulary lacks \[unused0\] and \[unused1\]"):
        WordRows(moved[:5])
    assert WordRows(moved[:5], context_length=6, frame="no_end")("a [SEP] a")[0].tolist() == [2, 4, 0, 4, 0, 0]


def test_a_stored_model_names_its_rows():
    told = {"kind": "word_rows", "vocabulary": PIECES, "context_length": 10, "frame": "no_end"}
    assert tokenizer_from_dict(told)("dogs on grass")[0].tolist() == FRAMED["no_end"]
    with pytest.raises(UserError, match="keep_end"):
        tokenizer_from_dict({**told, "keep_end": False})
    with pytest.raises(UserError, match="vocabulary"):
        tokenizer_from_dict({**told, "vocabulary": "dog"})


def test_the_kinds_lie_in_the_files_of_the_tokenizers():
    assert set(tokenizer_kinds()) == {"bpe", "clip", "none", "word_rows", "wordpiece"}


@pytest.mark.parametrize("frame", FRAMED)
def test_commands_check_texts_against_the_models_table(frame):
    """Every id of a text, the one that ends it too, has a row in the table; else one line says so."""
    model = torch.nn.Module()
    model.tokenize, model.token_embedding = WordRows(PIECES, frame=frame), torch.nn.Embedding(len(PIECES), 2)
    assert door.check_texts(["dogs on grass", "dogs on grass"], "label", model) == ["dogs on grass"]
    model.token_embedding = torch.nn.Embedding(len(PIECES) - 1, 2)
    with pytest.raises(UserError, match="label 1 has the id 10, the model knows 0 to 9"):
        door.check_texts(["dogs on grass"], "label", model)
