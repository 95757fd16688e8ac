"""Training: a run that was stopped goes on as if nothing had happened; measures are right on toys; the weights keep
their word."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lessons.stickers import exams
from lessons.stickers.sheet import CLASSES
from lessons.stickers.splits import TEST, VAL
from lessons.train import __main__ as command
from lessons.train import loop, measures
from lessons.train.clip import report as clip_report
from lessons.train.clip import trainer as clip
from lessons.train.vit import report as vit_report
from lessons.train.vit import trainer as vit
from minimodels.errors import UserError
from minimodels.stored import models


def held(trainer) -> dict:
    """A copy of all that the next step starts from."""
    optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
    return copy.deepcopy({"model": dict(trainer.model.state_dict()), "optimizers": optimizers})


def same(a, b) -> bool:
    """Equal to the last bit, in dictionaries and lists too."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_resumes(make: Callable[[], Any], folder: Path, steps: int) -> tuple[dict, dict]:
    """Hold a run that stops after each step against one that does not; gives the states at the start and at the end.

    Bits are asked where they must be equal. A fresh trainer reads from the checkpoint what the stopped one held. And
    one trainer, put back to its start before each part, comes to the numbers of its whole run: the same tensors at the
    same addresses. Two trainers are never held against each other: their steps may differ in the last bit.
    """
    trainer = make()
    start = held(trainer)
    loop.run(trainer, folder / "whole", every=1)
    end = held(trainer)
    for number in range(1, steps + 1):
        trainer.model.load_state_dict(start["model"])
        for optimizer, state in zip(trainer.optimizers, start["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        loop.run(trainer, folder / "parts", every=100, minutes=0, resume=number > 1)  # no time: stops after one step
        fresh, file = make(), folder / "parts" / "checkpoint.pt"
        assert loop.load_checkpoint(file, fresh.model, fresh.optimizers, fresh.about) == number
        assert same(held(fresh), held(trainer)), f"what step {number} left is not what a fresh trainer reads"
    assert same(held(trainer), end), "the parts came to other numbers than the whole run"
    logs = [loop.read_log(folder / run / "log.jsonl") for run in ("whole", "parts")]
    assert [line["loss"] for line in logs[0]] == [line["loss"] for line in logs[1]]
    return start, end


@pytest.mark.parametrize("script", [clip, vit], ids=["clip", "vit"])
def test_a_stopped_run_goes_on_bit_for_bit(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script.Trainer, "validate", lambda self: {})
    assert_resumes(lambda: script.Trainer(loop.Settings(steps=3, batch=4)), tmp_path, 3)


def forgetful(path, model, optimizers, about):
    """The mutant: a checkpoint is read without its optimizers."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    return state["step"]


def test_a_run_that_forgets_or_draws_freely_is_noticed(tmp_path, monkeypatch):
    """Mutants: no optimizers in what is read; a step that depends on numbers drawn before; one that counts itself."""
    monkeypatch.setattr(vit.Trainer, "validate", lambda self: {})
    step = vit.Trainer.step

    def nudged(by):
        def changed(self, number):
            with torch.no_grad():
                self.model.norm.bias += by(self)
            return step(self, number)

        return changed

    def counted(self):
        self.count = getattr(self, "count", 0) + 1
        return self.count

    mutants = {
        "forgets": (loop, "load_checkpoint", forgetful),
        "draws": (vit.Trainer, "step", nudged(lambda self: torch.rand(()))),
        "counts": (vit.Trainer, "step", nudged(counted)),
    }
    for name, mutant in mutants.items():
        with monkeypatch.context() as patch, pytest.raises(AssertionError):
            patch.setattr(*mutant)
            assert_resumes(lambda: vit.Trainer(loop.Settings(steps=2, batch=2)), tmp_path / name, 2)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(vit.Trainer, "validate", lambda self: {})
    loop.run(vit.Trainer(loop.Settings(steps=2, batch=2)), tmp_path, every=1, minutes=0)
    with pytest.raises(UserError, match="was made with"):
        loop.run(vit.Trainer(loop.Settings(steps=3, batch=2)), tmp_path, every=1, minutes=0, resume=True)
    with pytest.raises(UserError, match="'seed': 1"):
        loop.run(vit.Trainer(loop.Settings(steps=2, batch=2, seed=1)), tmp_path, every=1, minutes=0, resume=True)


def test_muon_takes_the_blocks_matrices_and_nothing_else():
    model = clip.CLIP(**clip.NUMBERS, vocab_size=520)
    muon, adam = loop.make_optimizers(model, 0.1, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    of = [{names[id(p)] for group in optimizer.param_groups for p in group["params"]} for optimizer in (muon, adam)]
    assert of[0] | of[1] == set(names.values()) and not of[0] & of[1]
    assert all(".blocks." in name and name.endswith("weight") for name in of[0])
    assert {"text_tower.token_embedding.weight", "image_tower.patch_proj.weight", "logit_scale"} <= of[1]


def test_the_rate_warms_up_and_falls():
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "full_rate": 2.0}], lr=2.0)
    factors = [loop.set_rate([optimizer], step, 100) for step in range(100)]
    assert factors[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1], abs=0.001)
    assert all(a >= b for a, b in zip(factors[4:], factors[5:]))
    assert factors[-1] == pytest.approx(0.02, abs=0.001) and optimizer.param_groups[0]["lr"] == 2 * factors[-1]


def test_contrastive_loss_is_the_mean_of_both_directions():
    logits = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    rows = (math.log(1 + math.exp(-2)) + math.log(2)) / 2
    columns = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-1))) / 2
    assert clip.contrastive_loss(logits).item() == pytest.approx((rows + columns) / 2)


class Toy(torch.nn.Module):
    """A model whose embedding of a picture is a unit vector told by its first red pixel, and of a text by its first
    id."""

    def __init__(self):
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def encode_image(self, image):
        red = (image * measures.STD + measures.MEAN)[:, 0, 0, 0] * 255
        return torch.nn.functional.one_hot(red.round().long(), 80).float() * 3

    def encode_text(self, ids):
        return torch.nn.functional.one_hot(ids[:, 0], 80).float() * 5


def toy_tokenize(texts):
    """The class number of the first class name in each text, or the number that is the text."""
    names = {name: number for number, name in enumerate(CLASSES)}
    return torch.tensor([[next(names.get(w, int(w) if w.isdigit() else -1) for w in t.split() if w in names or
    w.isdigit())]
                         for t in texts])  # fmt: skip


def toy_pictures(numbers) -> np.ndarray:
    return np.stack([np.full((64, 64, 3), number, np.uint8) for number in numbers])


def test_zero_shot_counts_right_answers():
    exam = exams.Singles(toy_pictures([5, 6, 7, 63]), np.array([5, 6, 8, 63]), np.zeros(4), [])
    assert measures.zero_shot(Toy(), toy_tokenize, exam).tolist() == [True, True, False, True]


def test_retrieval_ranks_count_ties_against_the_model():
    exam = exams.Pairs(toy_pictures([1, 2, 2, 3]), ["1", "2", "2", "4"], [], [])
    assert measures.retrieval_ranks(Toy(), toy_tokenize, exam).tolist() == [0, 1, 1, 3]


def test_right_caption_wins_only_when_it_is_nearer():
    exam = exams.Pairs(toy_pictures([1, 2, 3]), ["1", "5", "3"], [], ["2", "2", "3"])
    assert measures.right_caption_wins(Toy(), toy_tokenize, exam).tolist() == [True, False, False]


def test_shares_sum_to_one():
    scenes = exams.training_scenes(range(20), 0.3).scenes
    target = vit.shares(scenes)
    torch.testing.assert_close(target.sum(1), torch.ones(20))
    assert all((row > 0).sum() == len({s.kind for s in scene.stickers}) for row, scene in zip(target, scenes))


def test_report_judges_bars_and_writes_json(tmp_path, monkeypatch, capsys):
    rows = [clip_report.Row(name, ours, 0.1, None, 0.2, 0.5, 0.95) for name, ours in (("good", 0.97), ("bad", 0.90))]
    monkeypatch.setattr(clip_report, "measure", lambda *_: rows)
    model = SimpleNamespace(about={"arguments": {**clip.NUMBERS, "vocab_size": 520}}, tokenize=None)
    monkeypatch.setattr(models, "open_file", lambda *_, **__: Shell(model.about))
    assert command.main(["clip", "--evaluate", str(tmp_path / "x"), "--out", str(tmp_path / "measured")]) == 1
    printed = capsys.readouterr().out
    assert ">= 95% met" in printed and ">= 95% MISSED" in printed
    assert json.loads((tmp_path / "measured" / "figures.json").read_text())[0]["tiny_clip"] == 0.97


class Shell(clip.CLIP):
    """A CLIP with the metadata that a loaded one has."""

    def __init__(self, about=None, **numbers):
        super().__init__(**(about["arguments"] if about else numbers))
        self.about, self.tokenize = about, None


def test_tiny_clip_keeps_its_word():
    """The bars, on a smaller sample than the report's; two standard errors of that sample are allowed below them."""
    model = models.load("tiny-clip")
    exam = exams.singles(TEST, rounds=2, start=700_000)
    right = measures.zero_shot(model, model.tokenize, exam).float()
    assert_share(right, 0.95)
    assert_share(right[torch.from_numpy(exam.sizes) == 0], 0.88)
    ranks = measures.retrieval_ranks(model, model.tokenize, exams.captioned(TEST, 400, start=710_000))
    assert_share((ranks < 1).float(), 0.93)
    assert_share((ranks < 5).float(), 0.99)


def test_tiny_vit_keeps_its_word():
    model = models.load("tiny-vit")
    assert_share(vit_report.right_answers(model, exams.singles(TEST, rounds=2, start=700_000)).float(), 0.95)


def assert_share(right: torch.Tensor, bar: float) -> None:
    assert right.mean().item() >= bar - 2 * math.sqrt(bar * (1 - bar) / len(right))


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-vit"])
def test_the_weights_read_pictures_as_they_were_trained(name):
    """`.preprocess` on a picture gives the very numbers of the training script."""
    image = exams.singles(VAL, 1).images[7]
    ours = models.load(name).preprocess(Image.fromarray(image))
    torch.testing.assert_close(ours, measures.normalized(image[None])[0], atol=1e-6, rtol=0)


def test_the_tokenizer_in_the_weights_is_the_one_learned_from_captions():
    assert models.load("tiny-clip").tokenize.merges == clip.learn_tokenizer().merges
