"""Training CLIPSeg: a stopped run goes on bit for bit, prompts mean the right pixels, the weights keep their word."""

import numpy as np
import pytest
import torch

from lessons.stickers.scenes import draw
from lessons.stickers.splits import TRAIN
from lessons.train import loop
from lessons.train.clipseg import data as clipseg_data
from lessons.train.clipseg import report as clipseg_report
from lessons.train.clipseg import trainer as clipseg
from minimodels.segmenters import clipseg as segmenter
from minimodels.stored import embedded, models
from tests.lessons.test_training import assert_resumes


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(clipseg.Trainer, "validate", lambda self: {})
    monkeypatch.setattr(clipseg_data, "vocabulary", lambda: ["a dog", "the cat"])
    start, end = assert_resumes(lambda: clipseg.Trainer(loop.Settings(steps=3, batch=3), supports=1), tmp_path, 3)
    for name, tensor in start["model"].items():
        still = torch.equal(tensor, end["model"][name])
        assert still == name.startswith("clip."), f"{name}: CLIP is frozen, all else learns"


def test_the_loss_by_hand():
    logits = torch.tensor([[[[0.0, 0.0]]]])
    mask = torch.tensor([[[[True, False]]]])
    expected = 4 * np.log(2) + 0.5 * (1 - (2 * 0.5 + 1) / (1 + 1 + 1))
    assert clipseg.segmentation_loss(logits, mask).item() == pytest.approx(expected)


def test_a_fifth_of_the_prompts_mean_nothing_that_is_there():
    empty = [not one.mask.any() for n in range(150) for one in clipseg_data.question(n)[1]]
    assert 0.12 < np.mean(empty) < 0.32


def test_prompts_mean_the_visible_pixels_of_their_class():
    for number in range(60):
        _, asked = clipseg_data.question(number)
        for one in asked:
            assert one.mask.shape == (64, 64) and (one.text_weight == 1 or one.kind >= 0)
            assert one.text_weight == 1 or 0 <= one.text_weight <= 0.5
    again = clipseg_data.question(59)[1]
    assert [one.text for one in again] == [one.text for one in asked]


def test_support_scenes_show_their_class():
    for kind in (0, 17, 63):
        scene, target = clipseg_data.showing(4, kind, TRAIN)
        assert scene.stickers[target].kind == kind
        assert (draw(scene)[1] == target + 1).any()


def test_the_command_cuts_prompt_pictures_as_training_does():
    image, mask = torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.bool)
    mask[:, 20:40, 8:30] = True
    torch.testing.assert_close(segmenter.cut_out(image, mask, stickers=True), clipseg_data.cut_out(image, mask))


def test_the_weights_keep_their_word():
    """Every bar of `--evaluate`, on a tenth of its scenes."""
    model = models.load("tiny-clipseg")
    rows = clipseg_report.text_rows(model, model, 64, 100)[:2] + clipseg_report.absent_rows(model, model, 64, 100)
    rows += clipseg_report.mix_rows(model, 64, 100)
    missed = [f"{name}: {ours:.3f}, bar {bar:.3f}" for name, ours, *_, bar in rows if bar is not None and ours < bar]
    assert not missed


def test_the_decoder_belongs_to_the_clip_it_borrows():
    log = embedded.log("tiny-clipseg")
    assert log["clip"] == clipseg.fingerprint(models.load("tiny-clip"))
