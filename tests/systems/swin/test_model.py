"""Swin's parts by hand, its two flavours, what it promises and refuses."""

import pytest
import torch
from einops import rearrange
from torch import nn

from checkpoints_convert.proof.verify import difference, redraw_all
from minimodels import swin as swin_file
from minimodels.errors import UserError
from minimodels.swin import Swin, SwinBackbone, WindowAttention, fitted_windows
from tests.systems.swin.small import SMALL, backbone, pictures

# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("h, w, side", [(8, 8, 4), (5, 15, 5), (7, 14, 7), (4, 6, 2)])
def test_same_region_is_the_papers_nine_regions(h, w, side):
    """Slices of the whole picture, as figure 4 draws them, numbered and compared; for every possible shift."""
    for shift in range(1, side):
        picture = torch.zeros(h, w, dtype=torch.long)
        cuts = (slice(0, -side), slice(-side, -shift), slice(-shift, None))
        for number, (rows, cols) in enumerate((rows, cols) for rows in cuts for cols in cuts):
            picture[rows, cols] = number
        windows = swin_file.split_windows(picture[None, :, :, None].float(), side)[..., 0]
        expected = windows[:, :, None] == windows[:, None, :]
        assert torch.equal(swin_file.same_region(h, w, side, shift), expected)


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_relative_position_index_pair_by_pair(side):
    index = swin_file.relative_position_index(side)
    places = [(y, x) for y in range(side) for x in range(side)]
    for a, (ya, xa) in enumerate(places):
        for b, (yb, xb) in enumerate(places):
            assert index[a, b] == (ya - yb + side - 1) * (2 * side - 1) + (xa - xb + side - 1)


@pytest.mark.parametrize("h, w, side", [(4, 6, 2), (3, 9, 3), (5, 5, 5), (2, 3, 1)])
def test_windows_there_and_back(h, w, side):
    x = torch.arange(2 * h * w * 3.0).reshape(2, h, w, 3)
    windows = swin_file.split_windows(x, side)
    assert torch.equal(windows[0, side - 1], x[0, 0, side - 1])  # the end of the first row of the first window
    assert torch.equal(swin_file.join_windows(windows, side, h, w), x)


@pytest.mark.parametrize("shifted", [False, True])
def test_the_weights_in_the_open_are_those_that_run(shifted):
    attention = redraw_all(WindowAttention(12, 3, 3)).double()
    windows = torch.randn(8, 9, 12, dtype=torch.float64)
    seen = swin_file.same_region(6, 6, 3, 1) if shifted else None
    weights = attention.weights(windows, seen)
    values = attention.split_heads(windows)[2]
    mixed = rearrange(weights @ values, "windows heads n d -> windows n (heads d)")
    assert difference(attention.out_proj(mixed), attention(windows, seen)) <= 1e-12
    assert difference(weights.sum(-1), torch.ones(8, 3, 9, dtype=torch.float64)) <= 1e-12


def test_official_minus_hundred_equals_minus_infinity(monkeypatch):
    model, image = backbone(), pictures(2, 21, 30)
    with torch.no_grad():
        expected = model(image)
        monkeypatch.setattr(torch.Tensor, "log", lambda self: (self - 1) * 100)
        found = model(image)
    assert all(difference(a, b) <= 1e-12 for a, b in zip(found, expected))


# ---------------------------------------------------------------- both flavours


def test_the_difference_is_one_rule():
    """Same weights, a picture whose last map is one window: with the classifier's rule the backbone's maps are the
    classifier's. 40 pixels: maps of 20, 10 and 5 for a window of 5."""
    classifier = redraw_all(Swin(**{**SMALL, "window_size": 5, "image_size": (40, 40), "num_classes": 0})).double()
    plain = SwinBackbone(**{**SMALL, "window_size": 5}).double().eval()
    plain.load_state_dict({n: t for n, t in classifier.state_dict().items() if not n.startswith("norm.")})
    image = pictures(2, 40, 40)
    with torch.no_grad():
        ours, theirs = plain(image), SwinBackbone.forward(classifier, image)
        assert [difference(a, b) <= 1e-12 for a, b in zip(ours, theirs)] == [True, True, False]
        for block in plain.stages[2].blocks:
            block.shift = 0
        assert difference(plain(image)[2], theirs[2]) <= 1e-12


def test_stages_leave_room_between_blocks_and_merge():
    """What LAVT does: embed, blocks one by one, something of its own, merge."""
    model, image = backbone(), pictures(2, 21, 30)
    x = model.embed(image)
    assert x.shape == (2, 11, 15, 12)
    maps = []
    for stage in model.stages:
        for block in stage.blocks:
            assert block(x).shape == x.shape
            x = block(x)
        maps.append(x)
        x = stage.merge(x) if stage.merge is not None else None
    assert all(difference(a, b) <= 1e-12 for a, b in zip(maps, model(image), strict=True))
    assert [m.shape[1:] for m in maps] == [(11, 15, 12), (6, 8, 24), (3, 4, 48)]


def test_the_classifier_refuses_pictures_that_are_too_small():
    model = Swin(**{**SMALL, "image_size": (32, 32), "num_classes": 3})
    with pytest.raises(UserError, match="a map of 3 x 4 tokens is smaller than the window of 4 x 4.*image_size"):
        model(torch.zeros(1, 3, 24, 32))
    assert model(torch.zeros(1, 3, 32, 33)).shape == (1, 3)
    with pytest.raises(UserError, match="embed_dim 12 cannot be split into 5 heads"):
        Swin(**{**SMALL, "num_heads": (5, 3, 4)})


def test_stochastic_depth():
    """Rates rise from 0 to `drop_path`; a picture has a branch whole and scaled, or not at all; eval mode has all."""
    model = backbone(drop_path=0.6)
    rates = [block.drop_path for stage in model.stages for block in stage.blocks]
    assert torch.allclose(torch.tensor(rates), torch.linspace(0, 0.6, 7))
    image = pictures(4, 16, 16)
    assert difference(model(image)[2], model(image)[2]) <= 1e-12
    model.train()
    block, x = model.stages[2].blocks[1], torch.randn(64, 2, 2, 48, dtype=torch.float64)
    torch.manual_seed(0)
    kept = block.drop(x)
    zero = (kept == 0).all(dim=(1, 2, 3))
    assert 25 < zero.sum() < 52  # 64 draws of 0.6
    assert torch.allclose(kept[~zero], x[~zero] / 0.4)
    loss = sum(m.square().mean() for m in model(image))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_loop_of_exercise_2_6_5_is_transformers_layer():
    """The check works every window out by hand; with one plain head transformers' block gives the same."""
    from transformers import SwinConfig
    from transformers.models.swin.modeling_swin import SwinLayer

    from lessons.checker import Random
    from lessons.checker.exercises import catalogue
    from lessons.checker.load import load_exercise

    check = load_exercise(catalogue()["2.6.5"])
    for given in check.cases(Random(3)):
        x, side = given["x"], given["side"]
        (h, w), dim = x.shape[1:3], x.shape[-1]
        config = SwinConfig(window_size=side, num_heads=(1,), attn_implementation="sdpa")
        layer = SwinLayer(config, dim, (h, w), 1, shift_size=given["shift"]).double().eval()
        q, k, v, bias = given["attend"].parts
        state = {name: torch.zeros_like(tensor) for name, tensor in layer.state_dict().items()}
        state |= {"attention.q_proj.weight": q.T * dim**0.5, "attention.q_proj.bias": bias * dim**0.5}
        state |= {"attention.k_proj.weight": k.T, "attention.k_proj.bias": bias}
        state |= {"attention.v_proj.weight": v.T, "attention.v_proj.bias": bias}
        state["attention.o_proj.weight"] = torch.eye(dim, dtype=torch.float64)
        layer.load_state_dict(state)
        layer.layernorm_before = nn.Identity()
        with torch.no_grad():
            answer = layer(x.flatten(1, 2), (h, w), always_partition=True)[0] - x.flatten(1, 2)
        assert difference(check.reference(**given).flatten(1, 2), answer) <= 1e-10


def test_a_window_is_no_wider_than_the_smaller_side():
    assert fitted_windows((24, 64), 2, 3, 4) == fitted_windows((64, 24), 2, 3, 4) == [4, 4, 3]
    assert fitted_windows((17, 99), 4, 2, 7) == [5, 3]  # rounded up
    assert fitted_windows((64, 64), 4, 4, (7, 14, 4, 7)) == [7, 8, 4, 2]
    with pytest.raises(UserError, match="2 windows for 4 stages"):
        fitted_windows((64, 64), 4, 4, (7, 14))
    with pytest.raises(UserError, match="a map of 3 x 8 tokens for a window of 4: timm's is oblong"):
        fitted_windows((24, 64), 2, 3, 4, each_axis=True)
    assert fitted_windows((32, 64), 2, 3, 4, each_axis=True) == [4, 4, 4]  # at the window, not below
    assert fitted_windows((8, 8), 2, 3, 4, each_axis=True) == [4, 2, 1]  # square maps make square windows


def test_what_is_not_seen_has_no_weight_at_all():
    """-inf and not -100: exactly nothing, however large the other scores."""
    attention = redraw_all(WindowAttention(12, 3, 3)).double()
    seen = swin_file.same_region(6, 6, 3, 1)
    weights = attention.weights(torch.randn(8, 9, 12, dtype=torch.float64), seen)
    hidden = ~seen.repeat(2, 1, 1)[:, None].expand_as(weights)
    assert hidden.any() and weights[hidden].eq(0).all() and weights[~hidden].gt(0).all()


@pytest.mark.parametrize("changes", [{"depths": (2,)}, {"num_heads": (1, 2, 4)}, {"window_size": (2, 2, 2)}])
@pytest.mark.parametrize("cls", [Swin, SwinBackbone])
def test_stages_are_told_by_lists_of_one_length(cls, changes):
    with pytest.raises(UserError, match="a(nd windows have a)? number a stage"):
        cls(**{"depths": (2, 2), "num_heads": (1, 2), "embed_dim": 8, "window_size": 2, **changes})
