"""Training LAVT: a stopped run goes on bit for bit, sentences mean what they say, the weights keep their word."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lessons.stickers import refer
from lessons.stickers.captions import RELATIONS, relation
from lessons.stickers.splits import TEST, VAL
from lessons.train import loop
from lessons.train.lavt import data as lavt_data
from lessons.train.lavt import report as lavt_report
from lessons.train.lavt import trainer as lavt
from minimodels.stored import embedded, models
from minimodels.words.word_piece import WordPieceTokenizer
from tests.lessons.test_training import assert_resumes

SWIN = {"patch_size": 4, "embed_dim": 8, "depths": (1, 2), "num_heads": (1, 2), "window_size": (4, 8)}


@pytest.fixture
def small(monkeypatch):
    """A model of two stages, quick to build and to step."""
    bert = {"class": "BERT", "arguments": lavt.MODEL["bert"]["arguments"] | {"depth": 1}}
    changes = {"backbone": {"class": "SwinBackbone", "arguments": SWIN}, "bert": bert}
    monkeypatch.setattr(lavt, "MODEL", changes | {"fusion_heads": (1, 1), "decoder_dim": 8})


def test_a_stopped_run_goes_on_bit_for_bit(small, tmp_path, monkeypatch):
    monkeypatch.setattr(lavt.Trainer, "validate", lambda self: {})
    assert_resumes(lambda: lavt.Trainer(loop.Settings(steps=3, batch=6)), tmp_path, 3)


def test_every_parameter_learns_at_one_rate(small):
    trainer = lavt.Trainer(loop.Settings(steps=10, batch=4))
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    groups = [[names[id(p)] for p in g["params"]] for o in trainer.optimizers for g in o.param_groups]
    assert sorted(name for group in groups for name in group) == sorted(names.values())
    muon, convolutions, plain, tables = groups
    assert all("relative_bias_table" in name for name in tables) and len(tables) == 3
    assert all(name.startswith(("steps.", "head.")) for name in convolutions)
    assert {"backbone.patch_proj.weight", "bert.token_embedding.weight", "bert.pos"} <= set(plain)
    assert {"fusions.0.key.weight", "gates.1.fc1.weight"} <= set(muon) and any("merge" in name for name in muon)


def test_the_rate_is_the_papers_polynomial():
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "full_rate": 2.0}], lr=2.0)
    assert lavt.set_rate([optimizer], 50, 100) == pytest.approx(0.5**0.9)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2 * 0.5**0.9)
    assert lavt.set_rate([optimizer], 0, 100) == pytest.approx(0.25)  # a warm-up of four steps


def test_the_loss_by_hand():
    """Two pixels, logits (background, referent) of (0, 0) and (0, 0): one is meant."""
    loss = lavt.segmentation_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[True, False]]]))
    assert loss.item() == pytest.approx(4 * np.log(2) + 0.5 * (1 - (2 * 0.5 + 1) / (1 + 1 + 1)))


@pytest.mark.parametrize("masked", [False, True, None])
def test_attention_spelled_out_is_torchs(masked):
    q, k, v = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64)
    mask = None if masked is None else torch.rand(2, 1, 5, 5) > 0.3 if masked else torch.randn(1, 2, 5, 5).double()
    if masked:
        mask[..., 0] = True
    for scale in (None, 0.2):
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        torch.testing.assert_close(lavt.plain_attention(q, k, v, attn_mask=mask, scale=scale), expected)


def test_the_first_stage_once_a_scene_changes_nothing(small):
    trainer = lavt.Trainer(loop.Settings(steps=3, batch=4))
    image = torch.randn(2, 3, 64, 64).repeat_interleave(2, dim=0)
    ids, mask = trainer.tokenizer(["the dog", "the cat on the left", "the red car", "the car above the bus"])
    stage = trainer.model.backbone.stages[0]
    x = trainer.model.backbone.embed(image)
    torch.testing.assert_close(stage.forward(x), trainer.blocks(x))
    trainer.model.eval()
    assert trainer.model(image[:1], ids[:1], mask[:1]).shape == (1, 2, 64, 64)  # one sentence alone is no pair


def test_every_word_is_in_the_vocabulary():
    tokenizer = WordPieceTokenizer(lavt_data.vocabulary())
    for number in range(200):
        for one in lavt_data.question(number)[2]:
            pieces = tokenizer.pieces(one.text)
            assert "[UNK]" not in pieces and len(pieces) + 2 <= lavt_data.LONGEST, one.text


def test_both_sentences_of_a_scene_mean_what_they_say():
    """Each is checked against the description of the scene, in words of its own."""
    kinds = set()
    for number in range(400):
        dice_scene = scene_of(number)
        for one in lavt_data.question(number)[2]:
            kinds.add(one.kind)
            assert meant_by(dice_scene, one.text) == ([one.target] if one.target >= 0 else []), one
    assert kinds == set(refer.KINDS)


def scene_of(number):
    """The scene behind a question."""
    dice = lavt_data.Dice(lavt_data.TRAIN.seed(lavt_data.ASIDE + number))
    kind = lavt_data.pick_kind(dice, lavt_data.EARLY)
    return refer.expression(number, lavt_data.TRAIN, kind, hard=dice.chance(0.5)).scene


def meant_by(scene, text):
    """Which stickers a sentence means, from its words alone."""
    words = text.split()[1:]
    look = words.pop(0) if words[0] in ("small", "big", "red", "yellow", "green", "blue", "purple") else ""
    most = words.pop(0) if words[0] in ("biggest", "smallest") else ""
    noun, rest = words[0], " ".join(words[1:])
    those = [n for n, s in enumerate(scene.stickers) if s.name == noun]
    at = scene.stickers
    if look in ("small", "big"):
        those = [n for n in those if at[n].size == ("small", "", "big").index(look)]
    elif look:
        those = [n for n in those if at[n].colour_name == look]
    if most:
        sizes = [at[n].size for n in those]
        those = [n for n in those if at[n].size == (max if most == "biggest" else min)(sizes)]
    if rest in refer.PLACES:
        right, down = refer.PLACES[rest]
        those = [max(those, key=lambda n: right * at[n].x + down * at[n].y)]
    elif rest:
        relation_words = next(r for r in RELATIONS if rest.startswith(f"{r} the "))
        anchor = next((s for s in at if s.name == rest.removeprefix(f"{relation_words} the ")), None)
        those = [n for n in those if anchor and relation(at[n], anchor) == relation_words]
    return those


@pytest.mark.parametrize("mix, least, most", [(lavt_data.EARLY, 0.06, 0.2), (lavt_data.LAST, 0.2, 0.4)])
def test_a_share_of_the_sentences_means_nothing(mix, least, most):
    absent = [one.target < 0 for number in range(300) for one in lavt_data.question(number, mix)[2]]
    assert least < np.mean(absent) < most


def test_choosing_by_hand():
    exam = lavt_report.make_exam("extreme", VAL, 12)
    right = exam.masks
    all_of_class = torch.stack(
        [
            torch.from_numpy(np.isin(owner, [n for n, s in enumerate(one.scene.stickers, 1) if s.name == one.noun]))
            for owner, one in zip(exam.owners, exam.asked)
        ]
    )
    assert lavt_report.chosen(right, exam) == 1 and lavt_report.ious(right, exam).min() == 1
    assert lavt_report.chosen(all_of_class, exam) == 0  # a tie is no choice, and the biggest is not favoured
    draws = [1 / sum(s.name == one.noun for s in one.scene.stickers) for one in exam.asked]
    assert lavt_report.chosen(all_of_class, exam, ties=True) == pytest.approx(np.mean(draws))
    assert lavt_report.chosen(all_of_class & ~right, exam) == lavt_report.chosen(right & False, exam, ties=True) == 0
    assert lavt_report.left_empty(right & False) == 1 and lavt_report.left_empty(right) == 0


def test_the_weights_keep_their_word():
    """A sample of what the card says; the whole is `python -m lessons.train lavt --evaluate`."""
    model = models.load("tiny-lavt")
    figures = embedded.figures("tiny-lavt")
    said = {row["measure"]: row["tiny_lavt"] for row in figures["rows"]}
    for kind in ("place", "extreme", "relation"):
        exam = lavt_report.make_exam(kind, TEST, 60)
        found = lavt_report.predict(model, exam.images, exam.texts) > 0
        assert abs(lavt_report.chosen(found, exam) - said[f"{kind}, right one"]) < 0.15, kind
