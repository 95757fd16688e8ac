"""`python -m minimodels zero-shot` as a person types it: answers, odd pictures, and every mistake in one line."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open

from minimodels.__main__ import main
from minimodels.commands import zero_shot
from minimodels.pixels.opening import open_image
from minimodels.stored import embedded, models
from minimodels.terminal import printing
from minimodels.words.templates import PHOTO, SEVEN, STICKERS, fill
from tests.commands.command_line import (
    CONTEXT,
    assert_one_clear_line,
    command_line,
    paint,
    paint_folder,
    spoil,
    write_model,
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A CLIP of stickers in miniature, with random weights."""
    return write_model(tmp_path_factory.mktemp("model") / "small.safetensors", seed=0)


@pytest.fixture
def folder(tmp_path):
    return paint_folder(tmp_path / "pictures")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model_file):
    return command_line(capsys, monkeypatch, tmp_path, model_file)


@pytest.fixture
def photo(tmp_path):
    return paint(tmp_path / "scene.png")


# ---------------------------------------------------------------- zero-shot


@torch.no_grad()
def by_hand(model_file, path, labels, templates):
    """The answer in single steps: {label: (probability, cosine)}."""
    model = models.open_file(model_file)
    image = F.normalize(model.encode_image(model.preprocess(open_image(path))[None]), dim=-1)[0]
    means = []
    for label in labels:
        vectors = [model.encode_text(model.tokenize(fill(template, label)))[0] for template in templates]
        means.append(F.normalize(torch.stack([v / v.norm() for v in vectors]).mean(dim=0), dim=0))
    cosines = torch.stack(means) @ image
    shares = (model.logit_scale.exp() * cosines).softmax(dim=0)
    return {label: (float(share), float(cosine)) for label, share, cosine in zip(labels, shares, cosines)}


@pytest.mark.parametrize("templates", [(), ("a picture of {a}.",), SEVEN])
def test_zero_shot_gives_what_the_steps_give(run, photo, model_file, templates):
    labels = ["cat", "an owl", "red car", "🚀"]
    options = [word for template in templates for word in ("--template", template)]
    code, out, _ = run("zero-shot", photo, *labels, "--json", *options)
    answer = json.loads(out)
    expected = by_hand(model_file, photo, labels, templates or STICKERS)
    assert code == 0 and answer["templates"] == list(templates or STICKERS)
    rows = answer["pictures"][0]["answers"]
    assert [row["probability"] for row in rows] == sorted([row["probability"] for row in rows], reverse=True)
    assert len(rows) == len(labels)
    for row in rows:
        assert (row["probability"], row["cosine"]) == pytest.approx(expected[row["label"]], abs=1e-5)


def test_several_pictures_and_top(run, tmp_path):
    first, second = paint(tmp_path / "a.png", 1), paint(tmp_path / "b.png", 2)
    code, out, err = run("zero-shot", first, second, "--labels", "cat", "dog", "owl", "--top", "2", "--json")
    pictures = json.loads(out)["pictures"]
    assert code == 0 and err == ""
    assert [one["picture"] for one in pictures] == [str(first), str(second)]
    assert [len(one["answers"]) for one in pictures] == [2, 2]
    code, out, _ = run("zero-shot", first, second, "--labels", "cat", "dog")
    assert code == 0 and "a.png" in out and "b.png" in out


def test_bars_fit_the_terminal(run, photo, monkeypatch):
    for columns in (30, 44, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, _ = run("zero-shot", photo, "cat", "a very long label " * 8, "赤い車" * 12, "👩‍🚀")
        lines = out.splitlines()
        assert code == 0 and len(lines) == 4
        assert all(printing.columns(line) <= columns for line in lines), out
        assert all("%" in line for line in lines)


def test_bars_are_as_long_as_their_shares():
    for share in (0.0, 0.03, 0.5, 0.99, 1.0):
        blocks = printing.bar(share, 20, blocks=True)
        length = sum(printing.EIGHTHS.index(letter) / 8 if letter in printing.EIGHTHS else 1 for letter in blocks)
        assert abs(length - share * 20) <= 1 / 16
        assert printing.bar(share, 20, blocks=False) == "#" * round(share * 20)


def test_a_terminal_without_blocks_gets_plain_letters(photo, model_file):
    command = [sys.executable, "-m", "minimodels", "zero-shot", photo, "cat", "赤い車", "🚀", "--model", model_file]
    result = subprocess.run(
        command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    )
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode("ascii")
    assert "#" in text and "cat" in text and "\\U0001f680" in text
    assert all(len(line) <= 60 for line in text.splitlines())


@pytest.mark.parametrize(
    "command, example", [("zero-shot", "zero-shot cat.jpg"), ("search", "search photos/"), ("", "")]
)
def test_help_teaches(capsys, monkeypatch, command, example):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "examples:" in out and example in out


# ---------------------------------------------------------------- odd but valid


def test_of_an_animation_the_first_frame_is_read(run, tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "one.gif")
    answers = [run("zero-shot", tmp_path / name, "cat", "dog", "--json")[1] for name in ("two.gif", "one.gif")]
    rows = [json.loads(answer)["pictures"][0]["answers"] for answer in answers]
    assert [row["label"] for row in rows[0]] == [row["label"] for row in rows[1]]
    for name in ("probability", "cosine"):  # the model is read twice, in float32
        assert [row[name] for row in rows[0]] == pytest.approx([row[name] for row in rows[1]], abs=1e-5)


def test_one_pixel_an_emoji_and_a_single_label(run, tmp_path):
    code, out, err = run("zero-shot", paint(tmp_path / "dot.png", size=(1, 1)), "🐶")
    assert code == 0 and "🐶" in out and "100.0%" in out
    assert err.startswith("note: one label alone") and err.count("\n") == 1


def test_five_thousand_words_are_cut_with_a_notice(run, photo, folder):
    words = "rocket dog " * 2500
    code, out, err = run("zero-shot", photo, words, "cat")
    assert code == 0 and err.count("note: ") == 1 and f"reads {CONTEXT}" in err
    assert all(len(line) <= 80 for line in out.splitlines())
    code, out, err = run("search", folder, words)
    assert code == 0 and err.count("cut off") == 1


def test_a_template_may_push_a_label_over_the_context(run, photo):
    code, _, err = run("zero-shot", photo, "cat", "dog", "--template", "photo " * 60 + "{}")
    assert code == 0 and "label in its template" in err


def test_a_label_given_twice_counts_once(run, photo):
    code, out, err = run("zero-shot", photo, "cat", "dog", "cat")
    assert code == 0 and len(out.splitlines()) == 2 and "twice" in err


def test_labels_may_hold_braces_and_escape_codes(run, photo):
    code, out, _ = run("zero-shot", photo, "{0} {a}", "\x1b[31mred", "--json")
    assert code == 0 and len(json.loads(out)["pictures"][0]["answers"]) == 2
    code, out, _ = run("zero-shot", photo, "{0} {a}", "\x1b[31mred")
    assert code == 0 and "\x1b" not in out


@pytest.mark.parametrize("size, told", [((48, 48), False), ((128, 128), False), ((129, 129), True), ((60, 48), True)])
def test_a_model_of_stickers_says_so_once_on_other_pictures(run, tmp_path, size, told):
    pictures = [paint(tmp_path / f"{number}.png", number, size) for number in range(2)]
    code, _, err = run("zero-shot", *pictures, "--labels", "cat", "dog")
    assert code == 0
    assert err.count("know only the stickers") == told and ("checkpoints_convert fetch" in err) == told


def test_a_model_of_photographs_says_nothing_and_speaks_of_photos(run, tmp_path):
    model = write_model(tmp_path / "photos.safetensors", seed=0, trained_on="")
    picture = paint(tmp_path / "wide.png", size=(300, 200))
    code, out, err = run("zero-shot", picture, "cat", "dog", "--json", model=model)
    assert code == 0 and err == "" and json.loads(out)["templates"] == list(PHOTO)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes(run, photo, folder, dtype):
    assert run("zero-shot", photo, "cat", "dog", "--dtype", dtype)[0] == 0
    assert run("search", folder, "cat", "--dtype", dtype)[0] == 0


# ---------------------------------------------------------------- bad pictures, labels, models


BAD = {"missing": "not exist", "directory": "folder", "truncated": "damaged", "text": "text", "huge": "too large"}
BAD |= {"bytes": "not a picture", "empty": "empty"}


@pytest.mark.parametrize("kind, word", BAD.items())
def test_bad_pictures(run, tmp_path, kind, word):
    path = spoil(tmp_path / "bad.png", kind)
    assert_one_clear_line(run("zero-shot", path, "cat", "dog"), word, "bad.png")


def test_a_bad_picture_among_good_ones_prints_no_half_answer(run, photo, tmp_path):
    result = run("zero-shot", photo, spoil(tmp_path / "bad.png", "text"), "--labels", "cat", "dog", "--json")
    assert_one_clear_line(result, "bad.png")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["PHOTO"], ["no label"]),
        (["PHOTO", "cat", ""], ["label 2 is empty"]),
        (["PHOTO", " \n\t", "cat"], ["label 1 is empty"]),
        (["PHOTO", "PHOTO", "cat"], ["is a picture", "--labels"]),
        (["PHOTO", "cat", "--template", "a photo"], ["no place for the label"]),
        (["PHOTO", "cat", "--top", "0"], ["at least 1", "--help"]),
        (["PHOTO", "cat", "--dtype", "int8"], ["float32", "--help"]),
        (["PHOTO", "cat", "--colour"], ["--colour", "--help"]),
        ([], ["IMAGE", "--help"]),
        (["PHOTO", "cat", "--device", "tpu"], ["unknown device", "cpu"]),
        (["PHOTO", "cat", "--device", "cuda:99"], ["gpu"]),
        (["PHOTO", "cat", "--model", "tiny-clp"], ["did you mean", "tiny-clip"]),
        (["PHOTO", "cat", "--model", "openai/clip-vit-base-patch3"], ["did you mean", "openai/clip-vit-base-patch32"]),
        (["PHOTO", "cat", "--model", "nowhere/model.safetensors"], ["nowhere/model.safetensors"]),
    ],
)
def test_bad_arguments(run, photo, monkeypatch, arguments, words):
    monkeypatch.setattr(embedded, "names", lambda: ["tiny-clip"])
    assert_one_clear_line(run("zero-shot", *[photo if word == "PHOTO" else word for word in arguments]), *words)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize("kind", ["truncated", "text", "pickle", "vit", "lacking"])
def test_bad_checkpoints(run, photo, tmp_path, model_file, kind):
    path = tmp_path / "broken.safetensors"
    if kind == "truncated":
        path.write_bytes(model_file.read_bytes()[:5000])
    elif kind == "text":
        path.write_text("weights")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"weight": Evil()}))
    elif kind == "vit":
        from minimodels.vit import ViT

        arguments = {
            "image_size": (8, 8),
            "patch_size": 4,
            "embed_dim": 8,
            "depth": 1,
            "num_heads": 2,
            "num_classes": 3,
        }
        models.save(path, ViT(**arguments), {"system": "vit", "class": "ViT", "arguments": arguments})
    else:
        lacking(model_file, path)
    assert_one_clear_line(run("zero-shot", photo, "cat", "dog", "--model", path), "broken.safetensors")
    assert not Path("evil").exists()


def lacking(source, path):
    """The same model file without one tensor."""
    from safetensors.torch import save_file

    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())[1:]}
        save_file(tensors, path, metadata=file.metadata())


def test_ctrl_c_ends_quietly(run, photo, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(zero_shot, "classify", interrupt)
    assert run("zero-shot", photo, "cat", "dog") == (130, "", "\n")
