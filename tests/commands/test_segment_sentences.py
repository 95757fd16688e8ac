"""`python -m minimodels segment --model` a LAVT: sentences, unknown words, odd pictures, each mistake in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from lessons.train.lavt.data import vocabulary
from minimodels.__main__ import main
from minimodels.errors import UserError
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.stored import models
from minimodels.terminal import door
from minimodels.words.word_piece import WordPieceTokenizer

SWIN = {"patch_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": (4, 8)}
WORDS = {
    "vocab_size": len(vocabulary()), "max_length": 12, "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32,
}  # fmt: skip
NUMBERS = {
    "backbone": {"class": "SwinBackbone", "arguments": SWIN},
    "bert": {"class": "BERT", "arguments": WORDS},
    "fusion_heads": (1, 1),
    "decoder_dim": 8,
}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A LAVT in miniature with random weights."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    about = {
        "system": "lavt",
        "class": "LAVT",
        "arguments": NUMBERS,
        "trained_on": "Sticker World, split train",
        "tokenizer": {"kind": "wordpiece", "vocabulary": vocabulary(), "context_length": 12},
        "preprocess": preprocess_to_dict(TensorPreprocess(32)),
    }
    models.save(path, models.make("LAVT", NUMBERS).eval(), about)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, model_file):
    """Run a command line beside some pictures; gives code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name, size in (("scene.png", (48, 48)), ("dot.png", (1, 1)), ("long.png", (33, 2000))):
        Image.fromarray(generator.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(name)

    def call(*words):
        code = main(["segment", *map(str, words), "--model", str(model_file)])
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("name, size", [("scene.png", (48, 48)), ("dot.png", (1, 1)), ("long.png", (33, 2000))])
def test_each_sentence_gets_a_mask_of_the_pictures_size(run, tmp_path, name, size):
    code, out, _ = run(name, "the dog on the left", "the dog on the right", "--masks", "masks", "-o", "out.png")
    assert code == 0 and "the dog on the left: " in out and "the dog on the right: " in out
    masks = [Image.open(path) for path in sorted((tmp_path / "masks").iterdir())]
    assert [mask.size for mask in masks] == [size, size]


def test_the_mask_is_the_argmax_of_the_two_channels(run, tmp_path, model_file):
    assert run("scene.png", "the cat", "--masks", "masks")[0] == 0
    model = models.open_file(model_file)
    ids, mask = model.tokenize(["the cat"])
    with torch.no_grad():
        logits = model(model.preprocess(Image.open("scene.png"))[None], ids, mask)[0]  # at 32
    small = (logits.argmax(dim=0) == 1).float().mean().item()
    drawn = np.array(Image.open(tmp_path / "masks/01-the-cat.png")).mean() / 255
    assert abs(small - drawn) < 0.05  # enlarged from 32 to 48, else the same


def test_what_cannot_be_heard_is_said(run):
    code, _, notes = run("scene.png", "the zebra on the left")
    assert code == 0 and "does not know zebra" in notes
    code, _, notes = run("scene.png", "the dog " * 250)
    assert code == 0 and "502 tokens and the model reads 12" in notes


@pytest.mark.parametrize(
    "words, told",
    [
        (["scene.png", ""], "sentence 1 is empty"),
        (["scene.png"], "nothing to look for"),
        (["scene.png", "the dog", "--prompt-image", "scene.png"], "asked by sentences only"),
    ],
)
def test_mistakes_are_one_line(run, words, told):
    code, out, error = run(*words)
    assert code == 2 and told in error and "Traceback" not in error and not out


def test_a_vocabulary_of_another_model_is_told(model_file):
    model = models.open_file(model_file)
    model.tokenize = WordPieceTokenizer([*vocabulary(), "zebra"])
    assert door.check_texts(["the dog"], "sentence", model) == ["the dog"]
    with pytest.raises(UserError, match=f"has the id {len(vocabulary())}, .*another model's tokenizer"):
        door.check_texts(["the dog", "the zebra"], "sentence", model)
