"""`python -m minimodels compare`: the numbers by hand, ranks and margins, what fits a terminal, and every mistake."""

import json

import pytest
import torch
import torch.nn.functional as F

from minimodels.commands import compare
from minimodels.pixels.opening import open_image
from minimodels.stored import models
from minimodels.terminal import printing
from minimodels.words.word_piece import learn_words
from tests.commands.command_line import (
    CAPTIONS,
    CONTEXT,
    assert_one_clear_line,
    command_line,
    paint,
    spoil,
    write_model,
)
from tests.stored.test_metadata import small

SENTENCES = ["a big owl at night", "a cat and a rocket on wood", "a small red car"]


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    """A CLIP and a CLIPS in miniature."""
    place = tmp_path_factory.mktemp("models")
    about, tensors = small("CLIPS")
    words = [*learn_words([*CAPTIONS, "the cat on the left"]), "[unused0]", "[unused1]"]
    arguments = about["arguments"] | {"vocab_size": len(words), "context_length": CONTEXT}
    about |= {"arguments": arguments, "tokenizer": about["tokenizer"] | {"vocabulary": words}}
    about["tokenizer"] |= {"context_length": CONTEXT}
    torch.manual_seed(3)
    models.save(place / "clips.safetensors", models.make("CLIPS", arguments), about)
    return [write_model(place / "clip.safetensors", seed=0), place / "clips.safetensors"]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model_files):
    call = command_line(capsys, monkeypatch, tmp_path, None)
    both = ",".join(map(str, model_files))
    return lambda *words, models=both: call("compare", *words, "--models", models)


@pytest.fixture
def photo(tmp_path):
    return paint(tmp_path / "scene.png")


@torch.no_grad()
def by_hand(path, picture, sentences):
    """Cosines in single steps, and the scale."""
    model = models.open_file(path)
    image = model.encode_image(model.preprocess(open_image(picture))[None])
    return [float(F.cosine_similarity(image, model.encode_text(model.tokenize(one)))) for one in sentences], model


def test_the_numbers_are_those_of_single_steps(run, photo, model_files):
    code, out, _ = run(photo, *SENTENCES, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["sentences"] == SENTENCES and answer["picture"] == str(photo)
    for told, path in zip(answer["models"], model_files, strict=True):
        cosines, model = by_hand(path, photo, SENTENCES)
        assert told["model"] == str(path)
        assert told["scores"] == pytest.approx([100 * one for one in cosines], abs=1e-3)
        assert told["margin"] == pytest.approx(100 * (cosines[0] - max(cosines[1:])), abs=1e-3)
        assert told["ranks"] == [sorted(cosines, reverse=True).index(one) + 1 for one in cosines]
        shares = (model.logit_scale.exp() * torch.tensor(cosines)).softmax(dim=0)
        assert told["probabilities"] == pytest.approx(shares.tolist(), abs=1e-4)
        assert told["scale"] == pytest.approx(model.logit_scale.exp().item(), rel=1e-5)


@pytest.mark.parametrize(
    "scores, ranks, margin",
    [
        ([31.0, 20.0, -4.0], [1, 2, 3], 11.0),
        ([-12.0, -3.5, -3.5], [3, 1, 1], -8.5),
        ([5.0, 5.0], [1, 1], 0.0),
        ([7.0], [1], None),
    ],
)
def test_ranks_and_margins(scores, ranks, margin):
    result = compare.Scores("m", scores, [1 / len(scores)] * len(scores), 10.0)
    assert compare.ranks(result) == ranks and result.margin == margin


def test_bars_start_at_zero_and_share_one_scale(monkeypatch):
    monkeypatch.setattr(compare, "can_show", lambda _: False)
    assert compare.signed_bar(20.0, -10.0, 20.0, 31) == " " * 10 + "|" + "#" * 20
    assert compare.signed_bar(-10.0, -10.0, 20.0, 31) == "#" * 10 + "|"
    assert compare.signed_bar(-5.0, -10.0, 20.0, 31) == " " * 5 + "#" * 5 + "|"
    assert compare.signed_bar(0.0, 0.0, 0.0, 9) == "|"


@pytest.mark.parametrize("columns", [30, 44, 80, 200])
def test_what_is_shown_fits_the_terminal(run, photo, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = run(photo, *SENTENCES, "赤い車" * 20)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 3 * (len(SENTENCES) + 2)
    assert all(printing.columns(line) <= columns for line in lines), out
    assert "margin" in lines[-3]


def test_one_sentence_has_scores_and_no_margin(run, photo):
    code, out, err = run(photo, SENTENCES[0])
    assert code == 0 and len(out.splitlines()) == 3 and "one sentence alone has no margin" in err
    answer = json.loads(run(photo, SENTENCES[0], "--json")[1])
    assert [one["margin"] for one in answer["models"]] == [None, None]


def test_a_sentence_given_twice_counts_once(run, photo):
    code, out, err = run(photo, *SENTENCES, SENTENCES[0], "--json")
    assert code == 0 and json.loads(out)["sentences"] == SENTENCES and "counts once" in err


def test_a_long_sentence_is_cut_with_a_notice(run, photo):
    code, _, err = run(photo, "a cat on grass " * 500, "a dog")
    assert code == 0 and err.count("the rest is cut off") == 2  # each model counts its own tokens


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes(run, photo, dtype):
    exact, other = (json.loads(run(photo, *SENTENCES, "--json", "--dtype", one)[1]) for one in ("float32", dtype))
    for a, b in zip(exact["models"], other["models"]):
        assert a["scores"] == pytest.approx(b["scores"], abs=3 if dtype == "bfloat16" else 1e-3)


@pytest.mark.parametrize(
    "words, models, said",
    [
        (["PHOTO"], ..., ["no sentence given", 'compare cat.jpg "a cat" "a dog"']),
        ([], ..., ["IMAGE"]),
        (["PHOTO", "a cat", ""], ..., ["sentence 2 is empty"]),
        (["PHOTO", "a cat", "a dog"], "tiny-clip", ["names tiny-clip alone", "two or more"]),
        (["PHOTO", "a cat", "a dog"], "tiny-clip,", ["has an empty name"]),
        (["PHOTO", "a cat", "a dog"], "", ["has an empty name"]),
        (["PHOTO", "a cat", "a dog"], "tiny-clip, tiny-clip", ["tiny-clip more than once"]),
        (["PHOTO", "a cat", "a dog"], ",".join(map(str, range(9))), ["9 models, at most 8"]),
        (["PHOTO", "a cat", "a dog"], "tiny-clip,tiny-clap", ["tiny-clap", "did you mean tiny-clip"]),
        (["PHOTO", "a cat", "a dog"], "tiny-clip,tiny-vit", ["tiny-vit is a ViT", "needs a CLIP"]),
        (["PHOTO", "a cat", "a dog"], "tiny-sam,tiny-clip", ["tiny-sam is a SAM"]),
        (["PHOTO", "a cat", "--device", "tpu"], ..., ["unknown device"]),
        (["nowhere.png", "a cat", "a dog"], ..., ["nowhere.png"]),
    ],
)
def test_mistakes_end_in_one_line(run, photo, words, models, said):
    words = [str(photo) if word == "PHOTO" else word for word in words]
    options = {} if models is ... else {"models": models}
    assert_one_clear_line(run(*words, **options), *said)


@pytest.mark.parametrize("kind", ["missing", "directory", "truncated", "text", "huge", "empty"])
def test_bad_pictures(run, tmp_path, kind):
    assert_one_clear_line(run(spoil(tmp_path / "bad.png", kind), "a cat", "a dog"), "bad.png")


def test_a_model_that_came_without_a_part(run, photo, tmp_path, model_files):
    for part in ("tokenizer", "preprocess"):
        about, tensors = small("CLIPS")
        del about[part]
        path = tmp_path / f"no_{part}.safetensors"
        models.save(path, models.make("CLIPS", about["arguments"]), about)
        assert_one_clear_line(run(photo, "a cat", "a dog", models=f"{model_files[0]},{path}"), "came without its", part)
