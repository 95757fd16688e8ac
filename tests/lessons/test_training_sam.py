"""Training SAM: a stopped run goes on bit for bit, prompts point at what they mean, the weights keep their word."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lessons.stickers.splits import TEST, TRAIN
from lessons.train import loop
from lessons.train.sam import data as sam_data
from lessons.train.sam import report as sam_report
from lessons.train.sam import trainer as sam
from minimodels.blocks import split_patches
from minimodels.stored import embedded, models
from tests.lessons.test_training import assert_resumes


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """Four steps, one of each kind."""
    monkeypatch.setattr(sam.Trainer, "validate", lambda self: {})
    assert_resumes(lambda: sam.Trainer(loop.Settings(steps=4, batch=2)), tmp_path, 4)


def test_the_encoder_starts_as_tiny_vit_on_the_picture_enlarged_twice():
    model, vit = sam.SAM(**sam.NUMBERS), models.load("tiny-vit").double()
    sam.start_encoder(model)
    model.double()
    image = torch.randn(1, 3, 64, 64).double()
    ours = model.image_encoder.patch_proj(split_patches(image, 4))
    large = F.interpolate(image, scale_factor=2, mode="nearest")
    torch.testing.assert_close(
        ours, vit.patch_proj(split_patches(large, 8)), atol=1e-5, rtol=1e-5
    )  # the weights of four pixels are added in float32


def test_the_best_mask_learns_and_the_others_do_not():
    wanted = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    wanted[..., 16:40, 16:40] = True
    logits = torch.randn(1, 1, 4, 64, 64)
    logits[0, 0, 2] += 3 * wanted[0, 0].float()
    logits.requires_grad_()
    predicted = torch.zeros(1, 1, 4, requires_grad=True)
    sam.sam_loss(logits, predicted, wanted).backward()
    moved = logits.grad.flatten(3).abs().sum(-1)[0, 0]
    assert moved[0] > 0 and moved[2] > 0 and moved[1] == 0 and moved[3] == 0
    assert (predicted.grad != 0).all()


def test_the_loss_of_a_mask_by_hand():
    logits, target = torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]])
    expected = 4 * np.log(2) + 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    assert sam.mask_loss(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("points", [1, 3])
def test_clicks_and_boxes_point_at_what_they_mean(points):
    asked = sam_data.batch(range(40, 64), points)
    assert asked.points.shape == (24, sam_data.CLICKED, points, 2) and asked.boxes.shape == (24, sam_data.BOXED, 4)
    for mask, places in zip(asked.clicked.flatten(0, 1), asked.points.flatten(0, 1)):
        assert all(mask[int(y), int(x)] for x, y in places) and mask.sum() >= sam_data.LEAST
    for mask, box in zip(asked.boxed.flatten(0, 1), asked.boxes.flatten(0, 1)):
        assert torch.tensor(sam_data.box_of(mask.numpy())).sub(box).abs().max() <= 2
    again = sam_data.batch(range(40, 64), points)
    assert torch.equal(asked.points, again.points) and torch.equal(asked.boxes, again.boxes)


def test_one_click_alone_may_mean_a_part_or_all():
    def shares(points: int) -> list[float]:
        asked = sam_data.batch(range(60), points)
        owners = [sam_data.scene(number, TRAIN)[1] for number in range(60)]
        kinds = []
        for owner, masks in zip(owners, asked.clicked.numpy()):
            whole = [owner == sticker for sticker in sam_data.visible(owner)]
            for mask in masks:
                name = "sticker" if any((mask == one).all() for one in whole) else "part"
                kinds.append("ground" if (mask == (owner == 0)).all() else name)
                if len(whole) > 1 and (mask == (owner > 0)).all():
                    kinds[-1] = "group"
        return [kinds.count(kind) / len(kinds) for kind in ("sticker", "part", "group", "ground")]

    alone, several = shares(1), shares(2)
    assert alone[0] > 0.55 and min(alone[1:]) > 0.01
    assert several[0] > alone[0] and several[1] < alone[1]


def test_a_correction_is_where_the_answer_is_wrong():
    wanted, answer = torch.zeros(2, 1, 8, 8, dtype=torch.bool), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    wanted[0, 0, 2, 5], answer[1, 0, 7, 1] = True, True
    wanted[1, 0, 0, 0] = answer[1, 0, 0, 0] = True
    point, label = sam_data.correct(answer, wanted, torch.Generator().manual_seed(0))
    assert point[0, 0, 0].tolist() == [5, 2] and label[0, 0, 0] == 1  # missed
    assert point[1, 0, 0].tolist() == [1, 7] and label[1, 0, 0] == 0  # spilled over
    point, label = sam_data.correct(wanted, wanted, torch.Generator().manual_seed(0))
    assert point[0, 0, 0].tolist() == [5, 2] and label[0, 0, 0] == 1  # perfect: one more inside


def test_the_weights_keep_their_word():
    """On fewer scenes than the report, so a little below its bars."""
    model = models.load("tiny-sam")
    values = sam_report.quick(model, sam_report.make_exam(TEST, 60, start=5 * 10**6))
    figures = {row["measure"]: row for row in embedded.figures("tiny-sam")}
    for name, measure in (
        ("click", "unseen scenes: one click, best of three"),
        ("box", "unseen scenes: box"),
        ("correlation", "unseen scenes: predicted with true IoU (correlation)"),
    ):
        assert values[name] > figures[measure]["tiny_sam"] - 0.04, (name, values)
    assert embedded.file("tiny-sam").stat().st_size < 2_500_000
