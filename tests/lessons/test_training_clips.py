"""Tiny CLIPS' training script: two captions of a scene, the loss over both, resuming, the report."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lessons.stickers import exams, two_captions
from lessons.stickers.captions import OPPOSITE, describe, relation
from lessons.stickers.scenes import Sticker
from lessons.stickers.sheet import CLASSES, COLOURS
from lessons.stickers.splits import TEST, TRAIN
from lessons.train import __main__ as command
from lessons.train import loop, measures
from lessons.train.clip import trainer as clip
from lessons.train.clips import report as clips_report
from lessons.train.clips import trainer as clips
from minimodels.__main__ import main as minimodels_command
from minimodels.clip import CLIP
from minimodels.clips import CLIPS
from minimodels.errors import UserError
from minimodels.pixels.preprocess_tensor import SquashPreprocess
from minimodels.stored import models
from tests.lessons.test_training import assert_resumes, assert_share

SCENES, RIGHT = exams.training_captions(range(400), single_share=0.2)


def words_of(text):
    """The classes and colours that a text names."""
    return {word for word in re.findall(r"[a-z]+", text.lower()) if word in (*CLASSES, *COLOURS)}


def all_of(scene):
    return words_of(" ".join(describe(sticker) for sticker in scene.stickers))


@pytest.mark.parametrize(
    "make", [lambda s: clips.Trainer(s), lambda s: clip.Trainer(s, captions="web")], ids=["clips", "web"]
)
def test_a_stopped_run_goes_on_bit_for_bit(make, tmp_path, monkeypatch):
    monkeypatch.setattr(clip.Trainer, "validate", lambda self: {})
    assert_resumes(lambda: make(loop.Settings(steps=2, batch=4)), tmp_path, 2)


def test_a_run_on_other_captions_is_not_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(clip.Trainer, "validate", lambda self: {})
    loop.run(clip.Trainer(loop.Settings(steps=2, batch=2)), tmp_path, every=1, minutes=0)
    with pytest.raises(UserError, match="'captions': 'web'"):
        loop.run(clip.Trainer(loop.Settings(steps=2, batch=2), captions="web"), tmp_path, every=1, resume=True)


def test_web_captions_leave_out_err_and_say_something_else_as_often_as_told():
    lacking = wrong = filled = 0
    plain = re.compile(r"(a picture of )?an? [a-z ,]+")
    for number, scene in enumerate(SCENES):
        text = two_captions.web_caption(two_captions.words_dice(TRAIN, number), scene)
        named = {word for word in words_of(text) if word in CLASSES}
        there = {sticker.name for sticker in scene.stickers}
        lacking += bool(there - named)
        wrong += bool(named - there)
        filled += any(re.search(filler.replace("{}", r"\d+"), text) for filler in two_captions.FILLERS)
        assert plain.search(text)
    share = np.array([lacking, wrong, filled]) / len(SCENES)
    assert 0.2 < share[0] < 0.45 and 0.03 < share[1] < 0.13 and abs(share[2] - two_captions.FILLER) < 0.08


def test_synthetic_captions_say_everything_and_nothing_wrong():
    for number, scene in enumerate(SCENES):
        sentences = two_captions.synthetic_caption(two_captions.words_dice(TRAIN, number), scene)
        assert words_of(sentences[0]) == all_of(scene) == words_of(" ".join(sentences))
        assert 1 + len(scene.stickers) <= len(sentences) <= 2 * len(scene.stickers)
        for sentence in sentences[1 + len(scene.stickers) :]:
            _, first, where, second = re.fullmatch(r"(An?) (.+) lies (.+ of|above|below) an? (.+)\.", sentence).groups()
            a, b = (next(s for s in scene.stickers if describe(s) == words) for words in (first, second))
            assert relation(a, b) == where and relation(b, a) == OPPOSITE[where]


@pytest.mark.parametrize(
    "x, y, words", [(5, 5, "at the upper left"), (32, 32, "in the middle"), (63, 40, "at the right"),
                    (30, 60, "at the bottom"), (21, 22, "at the left"), (22, 21, "at the top")],
)  # fmt: skip
def test_nine_places(x, y, words):
    assert two_captions.place(Sticker(0, 0, 0, 0, False, x, y)) == words


def test_sub_captions_are_runs_of_sentences():
    sentences = [f"Sentence {letter}." for letter in "abcdef"]
    whole, seen = " ".join(sentences), set()
    for number in range(300):
        piece = two_captions.sub_caption(two_captions.words_dice(TRAIN, number), sentences)
        assert piece in whole and piece.startswith("Sentence")
        seen.add((piece.count("."), piece[9]))
    assert seen == {(count, letter) for letter in "abcd" for count in (1, 2, 3)} | {
        (1, "e"), (2, "e"), (1, "f"),
    }  # fmt: skip


def test_both_models_see_the_same_scenes_and_web_captions():
    settings = loop.Settings(steps=10, batch=8, seed=1)
    both, web = clips.Trainer(settings), clip.Trainer(settings, captions="web")
    scenes = exams.training_scenes(both.scenes(3), clip.single_share(3, 10))
    views, alone = both.views(3, scenes), web.views(3, scenes)
    assert both.scenes(3) == web.scenes(3) and views[0] == alone[0] and len(views) == 2 and len(alone) == 1
    assert views[0] != scenes.captions and clip.Trainer(settings).views(3, scenes) == [scenes.captions]
    assert all(piece.endswith(".") for piece in views[1])


def test_the_loss_is_the_mean_over_both_texts(monkeypatch):
    """Of one step, by hand: CLIP's loss over each view, halved and added."""
    trainer = clips.Trainer(loop.Settings(steps=10, batch=8))
    monkeypatch.setattr(loop, "update", lambda *_: None)
    monkeypatch.setattr(loop, "fast_step", lambda _: (torch.autocast("cpu", enabled=False),) * 2)
    scenes = exams.training_scenes(trainer.scenes(0), clip.single_share(0, 10))
    with torch.no_grad():
        image = trainer.model.encode_image(measures.normalized(scenes.images, trainer.preprocess))
        views = [trainer.model.encode_text(trainer.tokenizer(v, truncate=True)) for v in trainer.views(0, scenes)]
        losses = [clip.contrastive_loss(trainer.model.logits(image, texts)).item() for texts in views]
    assert trainer.step(0)["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5) and abs(losses[0] - losses[1]) > 1e-3


def test_the_words_are_framed_as_in_the_released_model():
    rows = clips.learn_tokenizer()
    row = rows("a small red car on grass")[0].tolist()
    vocabulary = rows.words.vocabulary
    assert row[0] == 1 and row[7] == 2 and vocabulary[1:3] == list(clips.MARKS)
    assert vocabulary[row[-1]] == "[CLS]" and row[8:-1] == [0] * 23
    assert set(CLASSES) <= set(vocabulary)
    assert "[UNK]" not in rows.words.pieces("img_4711.jpg zebra")


def test_a_picture_is_normalised_as_the_model_says():
    model = clips.Trainer(loop.Settings(steps=2, batch=2)).model
    images = exams.pictures(SCENES[:3])
    with torch.no_grad():
        embedded = measures.embed_images(model, images)
        by_hand = model.encode_image(measures.normalized(images, model.preprocess))
        other = model.encode_image(measures.normalized(images))
    torch.testing.assert_close(embedded, torch.nn.functional.normalize(by_hand, dim=-1))
    assert not torch.allclose(embedded, torch.nn.functional.normalize(other, dim=-1), atol=1e-3)


def test_report_judges_every_run_and_writes_json(tmp_path, monkeypatch, capsys):
    settings = loop.Settings(steps=2, batch=2)
    for name, trainer in (("a", clips.Trainer(settings)), ("b", clip.Trainer(settings, captions="web"))):
        (tmp_path / name).mkdir()
        models.save(tmp_path / name / "model.safetensors", trainer.model, trainer.describe())
    last = {"step": 5, "images": 1280, "cpu_seconds": 121.0}
    (tmp_path / "a" / "log.json").write_text(json.dumps({"seed": 3, "log": [{"step": 1}, last]}))
    measured = clips_report.measure
    monkeypatch.setattr(clips_report, "measure", lambda *them: measured(*them, count=12, rounds=1))
    words = ["clips", "--evaluate", tmp_path / "a", "--against", tmp_path / "b", "--out", tmp_path / "measured"]
    assert command.main([str(word) for word in words]) == 1
    printed = capsys.readouterr().out
    assert "1 x tiny CLIPS" in printed and "1 x tiny CLIP " in printed and ">= 93% MISSED" in printed
    figures = json.loads((tmp_path / "measured" / "figures.json").read_text())
    rows, told = figures["rows"], {"images": 1280, "minutes": 2.0}
    assert figures["runs"][0] == {"class": "CLIPS", "seed": 3, **told}
    assert figures["runs"][1] == {"class": "CLIP", "seed": None, "images": None, "minutes": 0.0}
    assert len(rows) == 7 and all(len(row["clips"]) == len(row["clip"]) == 1 for row in rows)
    assert [type(models.open_file(tmp_path / name / "model.safetensors")) for name in "ab"] == [CLIPS, CLIP]
    assert command.main(["clips", "--evaluate", str(tmp_path / "b")]) == 2
    assert "holds a CLIP; what is measured here is a CLIPS" in capsys.readouterr().err


def test_how_runs_are_summed_up():
    row = clips_report.Row("m", 10, [0.95, 0.97], [0.9], 0.1, None, 0.5, 0.93)
    assert "96.0% (95.0-97.0)" in row.text() and "MISSED" in row.text() and not row.met
    assert row._replace(clip=[0.94]).met and clips_report.spread([]) == ""


def test_tiny_clips_keeps_its_word():
    """The bar, on a smaller sample than the report's, in pictures and words as it was trained on them."""
    model = models.load("tiny-clips")
    ranks = measures.retrieval_ranks(model, model.tokenize, exams.captioned(TEST, 400, start=710_000))
    assert_share((ranks < 1).float(), 0.93)
    assert model.tokenize.words.vocabulary == clips.learn_tokenizer().words.vocabulary
    image = exams.pictures(SCENES[:1])
    ours = model.preprocess(Image.fromarray(image[0]))
    torch.testing.assert_close(ours, measures.normalized(image, SquashPreprocess(64))[0], atol=1e-6, rtol=0)


def test_tiny_clips_answers_commands(tmp_path, monkeypatch, capsys):
    """Wherever a dual encoder does: zero-shot, search and compare."""
    monkeypatch.chdir(tmp_path)
    exam = exams.singles(TEST, 1, start=720_000)
    Image.fromarray(exam.images[0]).save("dog.png")
    Image.fromarray(exam.images[3]).save("cat.png")
    assert minimodels_command(["zero-shot", "dog.png", "cat", "dog", "rocket", "--model", "tiny-clips"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("  dog")
    assert minimodels_command(["search", ".", "a cat", "--model", "tiny-clips"]) == 0
    assert re.search(r" 1 +[0-9.]+ +cat.png", capsys.readouterr().out)
    assert minimodels_command(["compare", "dog.png", "a dog", "a cat", "--json"]) == 0
    assert [one["ranks"] for one in json.loads(capsys.readouterr().out)["models"]] == [[1, 2], [1, 2]]
