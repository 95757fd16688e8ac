"""The training of two encoders: resuming, what is frozen, the exams of four descriptions, the figures."""

import numpy as np
import pytest
import torch

import minimodels
from lessons.stickers.baselines import shared
from lessons.stickers.sheet import COLOURABLE
from lessons.stickers.splits import TEST, VAL
from lessons.train import loop
from lessons.train.projected_clip import descriptions, report, settings
from lessons.train.projected_clip import trainer as projected
from minimodels.projected_clip import ProjectedCLIP
from minimodels.stored import embedded, models
from tests.lessons.test_training import assert_resumes


def make(**options) -> projected.Trainer:
    return projected.Trainer(loop.Settings(steps=3, batch=2), **options)


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """The heads' dropout too."""
    monkeypatch.setattr(projected.Trainer, "validate", lambda self: {})
    assert_resumes(make, tmp_path, 3)


@pytest.mark.parametrize("frozen", projected.FREEZE)
def test_what_is_frozen_does_not_change_and_all_else_does(frozen):
    trainer = make(freeze=frozen)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.step(0)
    changed = {name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])}
    for side in ("image", "text"):
        encoder = {name for name in before if name.startswith(f"{side}_tower.encoder.")}
        assert bool(encoder & changed) == (frozen not in (side, "both"))
        assert {name for name in before if name.startswith(f"{side}_tower.proj.")} & changed


def test_the_image_encoder_begins_as_tiny_vit():
    ready, trainer = minimodels.load("tiny-vit"), make()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(trainer.model.image_tower.encoder(image), ready.encode(image)[:, 0])


def test_losses_are_those_of_the_model():
    values = [make(loss=name).step(0)["loss"] for name in projected.LOSSES]
    assert values[0] != values[1]
    assert make().about["loss"] == "soft" and make(loss="clip").about["loss"] == "clip"


def test_what_is_written_opens_again(tmp_path):
    trainer = make()
    models.save(tmp_path / "model.safetensors", trainer.trained(), trainer.describe(), torch.float16)
    opened = models.open_file(tmp_path / "model.safetensors")
    assert (
        isinstance(opened, ProjectedCLIP)
        and opened.tokenize(["a dog"])[0, :2].tolist()[0] == opened.tokenize.words.start
    )


def test_four_descriptions_of_which_the_first_is_right():
    for exam in (descriptions.other_scenes(VAL, 12), descriptions.one_word_differs(VAL, 12)):
        assert len(exam.images) == len(exam.descriptions) == len(exam.scenes) == 12
        assert all(len(set(four)) == 4 for four in exam.descriptions)
    for four, scenes in zip(exam.descriptions, exam.scenes):
        right = four[0].split()
        for other, scene in zip(four[1:], scenes[1:]):
            differs = [a for a, b in zip(right, other.split(), strict=True) if a != b]
            assert len(differs) == 1
            pairs = [(a, b) for a, b in zip(scenes[0].stickers, scene.stickers) if a != b]
            assert len(pairs) == 1 and pairs[0][0].colour == pairs[0][1].colour and pairs[0][1].kind in COLOURABLE


def test_colours_that_say_nothing_answer_by_chance_at_most(monkeypatch):
    """A tie is no right answer."""
    exam = descriptions.other_scenes(VAL, 6)
    assert shared(np.ones(3), np.ones(3)) == 3
    monkeypatch.setattr(descriptions, "shared", lambda *_: np.float64(1))
    assert not descriptions.colour_only(exam).any()


def test_the_right_one_of_four_for_vectors_that_are_known(monkeypatch):
    exam = descriptions.Fours(np.zeros((2, 1)), [("a", "b", "c", "d")] * 2, [])
    told = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8], "d": [-1.0, 0.0]}
    monkeypatch.setattr(report.measures, "embed_images", lambda *_: torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    monkeypatch.setattr(report.measures, "embed_texts", lambda _, __, texts: torch.tensor([told[t] for t in texts]))
    model = type("Known", (), {"tokenize": None})()
    assert report.right_of_four(model, exam).tolist() == [True, False]


def test_the_weights_keep_their_word():
    """Two hundred unseen scenes, three standard deviations around the figures of the card."""
    model = minimodels.load("tiny-projected-clip")
    figures = {row["measure"]: row for row in embedded.figures("tiny-projected-clip")}
    for name, make_exam in (
        ("one of four descriptions", descriptions.other_scenes),
        ("one of four that differ in one word", descriptions.one_word_differs),
    ):
        share = figures[name]["tiny_projected_clip"]
        found = report.right_of_four(model, make_exam(TEST, 200)).float().mean().item()
        assert abs(found - share) <= 3 * (share * (1 - share) / 200) ** 0.5 + 0.005, name
    assert all(row["bar"] is None or row["tiny_projected_clip"] >= row["bar"] for row in figures.values())


def test_every_setting_was_run_with_every_seed():
    import json

    told = json.loads(settings.FILE.read_text("utf-8"))
    seeds = {run["seed"] for run in told["runs"]}
    ran = {(run["loss"], run["freeze"], run["seed"]) for run in told["runs"]}
    assert seeds and ran == {(*one, seed) for one in settings.SETTINGS for seed in seeds}
