"""Scenes with boxes, ways to show a box, simple shapes, and the report that lesson 3.10 shows."""

import numpy as np
import pytest
import torch

from lessons.stickers.scenes import draw
from lessons.stickers.splits import TEST, VAL
from lessons.train.falip import data, report
from minimodels.stored import embedded, models


@pytest.mark.parametrize("kind", data.KINDS)
def test_boxes_hold_their_stickers(kind):
    """Every pixel of a sticker lies in its box, and the box touches it on all four sides."""
    for case in data.expressions(kind, VAL, 6):
        _, owner = draw(case.scene)
        assert 2 <= len(case.boxes) <= 4 and 0 <= case.target < len(case.boxes) and case.text.startswith("a ")
        for number, (left, top, right, bottom) in enumerate(case.boxes, start=1):
            own = owner == number
            part = own[top:bottom, left:right]
            assert part.sum() == own.sum() and part[0].any() and part[-1].any()
            assert part[:, 0].any() and part[:, -1].any()


def test_a_hidden_sticker_has_no_box():
    owner = np.zeros((8, 8), np.uint8)
    owner[2:4, 5:7] = 2
    assert data.sticker_boxes(owner, 2) is None
    owner[7, 0] = 1
    assert data.sticker_boxes(owner, 2) == [(0, 7, 1, 8), (5, 2, 7, 4)]


def test_validation_and_test_are_apart():
    pictures = [{case.image.tobytes() for case in data.expressions("class", split, 10)} for split in (VAL, TEST)]
    assert not pictures[0] & pictures[1]


@pytest.mark.parametrize("way", data.WAYS)
def test_every_way_gives_a_vector_a_box(way):
    model, case = models.load("tiny-clip"), data.crowds(VAL, 1)[0]
    show, settings = data.WAYS[way]
    with torch.no_grad():
        vectors = show(model, case, **settings[-1])
        whole = data.by_whole(model, case)
    assert vectors.shape == whole.shape == (len(case.boxes), 128)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-4) and torch.equal(whole[0], whole[1])


def test_choices_by_hand():
    """Two boxes along two axes; the bank likes the second so much that less of it changes the answer."""
    case = data.Case(np.zeros((64, 64, 3), np.uint8), None, [(0, 0, 1, 1)] * 2, "", 0)
    boxes, text, bank = torch.eye(2), torch.tensor([[0.5, 0.6]]), torch.tensor([[0.0, 0.8], [0.1, 0.4]])
    assert {how: found.tolist() for how, found in report.choices([boxes], [case], text, bank).items()} == {
        "plain": [0.0],
        "subtract": [1.0],
    }


def test_the_interval_is_that_of_a_mean():
    mean, half = report.interval(np.array([1.0] * 30 + [0.0] * 70))
    assert mean == pytest.approx(0.3) and half == pytest.approx(1.96 * (0.3 * 0.7 / 99) ** 0.5)


SURFACES = {
    "sphere": lambda x, y, z: (x**2 + y**2 + z**2).sqrt() - 1,
    "cube": lambda x, y, z: torch.stack([x, y, z]).abs().amax(dim=0) * 3**0.5 - 1,
    "torus": lambda x, y, z: (((x**2 + y**2).sqrt() - 0.7) ** 2 + z**2).sqrt() - 0.3,
}


@pytest.mark.parametrize("name", data.SHAPES)
def test_shapes_lie_in_the_unit_sphere(name):
    points = data.shape(name, 2000)
    assert points.shape == (2000, 3) and float(points.norm(dim=1).max()) == pytest.approx(1)
    assert float(points.mean(dim=0)[:2].abs().max()) < 0.1
    if name in SURFACES:
        assert float(SURFACES[name](*points.unbind(dim=1)).abs().max()) < 0.02
    assert not torch.equal(points, data.shape(name, 2000, seed=1))


def test_the_figures_belong_to_the_weights():
    again = "python -m lessons.train falip --evaluate --count 500 --choose 120 --out minimodels/weights/tiny-falip"
    assert embedded.figures("tiny-falip")["weights"] == report.weights(), f"run {again}"
