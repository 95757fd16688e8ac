"""Tiny DINOv2's training script: resuming, crops and which patches see the same spot, the losses, the measure."""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image

from checkpoints_convert.proof.compare import difference
from lessons.stickers.splits import VAL
from lessons.train import loop
from lessons.train.dinov2 import report as dinov2_report
from lessons.train.dinov2 import trainer as dinov2
from minimodels.dinov2 import DINOv2
from minimodels.patch_features import PatchFeatures
from minimodels.stored import embedded, models
from minimodels.vit import ViT
from tests.lessons.test_training import assert_resumes


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """Student, teacher and optimizers come back."""
    monkeypatch.setattr(dinov2.Trainer, "validate", lambda self: {})
    _, end = assert_resumes(lambda: dinov2.Trainer(loop.Settings(steps=3, batch=2)), tmp_path, 3)
    taught = {name: tensor for name, tensor in end["model"].items() if name.startswith("student.")}
    assert any(not torch.equal(tensor, end["model"][f"teacher.{name[8:]}"]) for name, tensor in taught.items())


def straight(count: int, x: float = 0.0, y: float = 0.0, side: float = 1.0) -> torch.Tensor:
    """Views without tilt and mirror."""
    return torch.tensor([[side, 0, x], [0, side, y]]).expand(count, 2, 3).clone()


def test_the_whole_view_is_the_picture_itself():
    image = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(dinov2.crop(image, straight(2), 16), image)


def test_same_spot_of_shifted_views():
    """Two views of half the scene, one patch apart: column 1 of the left one is column 0 of the right one."""
    spot, inside = dinov2.same_spot(straight(1, x=-0.25, side=0.5), straight(1, x=0.0, side=0.5), 4)
    grid = torch.arange(16).view(4, 4)
    assert torch.equal(inside.view(4, 4), torch.tensor([False, True, True, True]).expand(4, 4))
    assert torch.equal(spot.view(4, 4)[:, 1:], grid[:, :3])


def test_same_spot_of_tilted_and_mirrored_views_shows_the_same_colours():
    """A smooth picture seen through random views: matched patches have nearly the same mean colour, others do not."""
    ramp = torch.linspace(0, 1, 64)
    image = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)]).expand(40, 3, 64, 64)
    dice = torch.Generator().manual_seed(0)
    mine, other = (dinov2.draw_views(40, dinov2.GLOBAL_SIDE, dice) for _ in range(2))
    means = [rearrange(F.avg_pool2d(dinov2.crop(image, view, 32), 4), "b c h w -> b (h w) c") for view in (mine, other)]
    spot, inside = dinov2.same_spot(mine, other, 8)
    matched = means[1][torch.arange(40)[:, None], spot]
    away = (means[0] - matched).abs().amax(dim=-1)
    assert inside.float().mean() > 0.3
    assert away[inside].quantile(0.95) < 0.06  # half a patch of the larger view
    assert (means[0] - means[1]).abs().amax(dim=-1)[inside].mean() > 0.1


def test_matches_count_patches_of_both_large_crops():
    trainer = dinov2.Trainer(loop.Settings(steps=1, batch=2))
    views = [straight(2, x=-0.25, side=0.5), straight(2, side=0.5)]
    mine, there = trainer.matches(views)
    side = dinov2.GLOBAL // dinov2.NUMBERS["patch_size"]
    assert len(mine) == len(there) and int(mine.max()) < 4 * side * side
    pictures = [index // (side * side) for index in (mine, there)]
    assert torch.equal(pictures[0] % 2, pictures[1] % 2), "the same scene"
    assert torch.equal(pictures[0] // 2, 1 - pictures[1] // 2), "the other crop"


def test_sinkhorn_shares_prototypes_and_leaves_samples_distributions():
    logits = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    logits[:, 0] += 1
    shares = dinov2.sinkhorn(logits, 0.5, rounds=50)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(shares.sum(dim=0), torch.full((8,), 8.0), atol=1e-5, rtol=1e-5)  # 64 sums in float32
    divided = ((logits - logits.max()) / 0.5).exp()
    for _ in range(3):
        divided = divided / divided.sum(dim=0, keepdim=True)
        divided = divided / divided.sum(dim=1, keepdim=True)
    torch.testing.assert_close(dinov2.sinkhorn(logits, 0.5), divided)


def test_the_teacher_follows_and_stops():
    trainer = dinov2.Trainer(loop.Settings(steps=10, batch=2))
    with torch.no_grad():
        trainer.student.backbone.mask_token.fill_(1.0)
    trainer.follow(0)
    assert trainer.teacher.backbone.mask_token.mean().item() == pytest.approx(1 - dinov2.MOMENTUM)
    before = trainer.teacher.backbone.mask_token.clone()
    trainer.follow(10)
    assert torch.equal(before, trainer.teacher.backbone.mask_token)


def test_the_loss_starts_near_the_even_guess():
    trainer = dinov2.Trainer(loop.Settings(steps=10, batch=4))
    with torch.no_grad():
        for part in trainer.loss(0):
            assert abs(part.item() - math.log(dinov2.PROTOTYPES)) < 1.5


# ---------------------------------------------------------------- the measure


def test_patches_on_the_object_and_their_middles():
    mask = torch.zeros(2, 64, 64, dtype=torch.bool)
    mask[0, 8:24, 16:24] = True  # four whole patches of 8
    mask[1, 30:33, 41:44] = True  # less than half of any patch
    wanted = dinov2_report.on_object(mask, 8).view(2, 8, 8)
    assert torch.nonzero(wanted[0]).tolist() == [[1, 2], [2, 2]]
    assert wanted[1].sum() == 1 and wanted[1, 3, 5]
    assert torch.nonzero(dinov2_report.centres(mask, 16).view(2, 16, 16)[1]).tolist() == [[7, 10]]


def test_an_oracle_is_always_right_and_the_opposite_never():
    """Features that say whose pixel lies in the middle of each patch."""
    exam = dinov2_report.pairs(VAL, 12, True)

    def told(own, other):
        return F.normalize(torch.stack([own, other, ~own & ~other], dim=-1).float(), dim=-1)

    asked = dinov2_report.on_object(exam.wanted, 16)
    own, other = (dinov2_report.centres(mask, 16) for mask in (exam.right, exam.others))
    reference = told(asked, torch.zeros_like(asked))
    right = dinov2_report.judge(reference, told(own, other), exam)
    assert right.right == 1.0 and right.other == right.ground == 0.0
    wrong = dinov2_report.judge(reference, told(other, own), exam)
    assert wrong.right == 0.0 and wrong.other == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-vit"])
def test_every_layer_of_every_model_is_read(name):
    model, image = models.load(name).double(), torch.zeros(1, 3, 128, 128, dtype=torch.float64)
    layers = dinov2_report.all_layers(model, image)
    assert [layer.shape for layer in layers] == [(1, 256, 128)] * 4
    with torch.no_grad():
        assert difference(layers[1], PatchFeatures(model, 1).patch_features(image)) <= 1e-10
    if isinstance(model, ViT):
        with torch.no_grad():
            assert difference(model.norm(layers[-1]), model.encode(image)[:, 1:]) <= 1e-10


def test_the_bars_compare_with_the_better_untrained_model():
    row = {"other": 0.0, "ground": 0.0, "each": 0.0, "block": 0}
    rights = {"a": (0.9, 0.8), "b": (0.95, 0.7), "untrained x": (0.5, 0.6), "untrained y": (0.7, 0.5)}
    found = [
        {"model": name, "pairs": kind, "right": value, **row}
        for name, values in rights.items()
        for kind, value in zip(("plain", "hard"), values)
    ]
    (_, plain, bar), (_, hard, above) = dinov2_report.bars(found)
    assert (plain, bar, hard) == (0.9, 0.88, 0.8) and above == pytest.approx(0.75)


@pytest.mark.skipif("tiny-dinov2" not in embedded.names(), reason="the weights are not here")
def test_tiny_dinov2_keeps_its_word():
    """Its class, its pixels, its size."""
    model = models.load("tiny-dinov2")
    assert isinstance(model, DINOv2) and model.preprocess(Image.new("RGB", (9, 7))).shape == (3, 64, 64)
    assert embedded.file("tiny-dinov2").stat().st_size <= 2_500_000
