"""`python -m minimodels segment --point | --box | --everything` as a person types it; the mask generator."""

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints_convert.proof.mutants import StandIn
from minimodels import sam_everything as generator
from minimodels.__main__ import main
from minimodels.commands.segment import Found, told
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam import SAM
from minimodels.sam_everything import Keep, MaskGenerator, SAMProposer
from minimodels.stored import models
from tests.systems.sam.small import SMALL


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A SAM in miniature with random weights, whose masks are neither empty nor full."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    preprocess = preprocess_to_dict(PaddedPreprocess(40))
    models.save(
        path, SAM(**SMALL), {"system": "sam", "class": "SAM", "arguments": dict(SMALL), "preprocess": preprocess}
    )
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    for name, size in (("scene.png", (48, 36)), ("dot.png", (3, 1))):
        Image.fromarray(chance.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(name)
    return tmp_path


def typed(*words, model_file, capsys) -> tuple[int, str, str]:
    code = main(["segment", *map(str, words), "--model", str(model_file)])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_one_click_has_three_masks_sorted_by_trust(here, model_file, capsys):
    code, out, err = typed("scene.png", "--point", "20,10", "--masks", "masks", model_file=model_file, capsys=capsys)
    assert code == 0 and not err
    lines = [line for line in out.splitlines() if "predicted IoU" in line]
    trust = [float(line.rsplit("IoU ", 1)[1]) for line in lines]
    assert len(lines) == 3 and trust == sorted(trust, reverse=True)
    masks = [np.array(Image.open(here / "masks" / f"0{number}-mask.png")) for number in (1, 2, 3)]
    assert all(mask.shape == (36, 48) and set(np.unique(mask)) <= {0, 255} for mask in masks)
    assert (here / "segments.png").is_file()


@pytest.mark.parametrize(
    "words", [["--box", "3,4,30,30"], ["--point", "5,5", "--point", "9,9"], ["--point", "5,5", "--not", "40,3"],
              ["--point", "0,0", "--box", "0,0,47,35"]]
)  # fmt: skip
def test_a_clear_prompt_has_one_mask(here, model_file, capsys, words):
    code, out, err = typed("scene.png", *words, "-o", "out.jpg", model_file=model_file, capsys=capsys)
    assert code == 0 and not err and out.count("predicted IoU") == 1 and (here / "out.jpg").is_file()


def test_the_masks_are_those_of_the_model(here, model_file, capsys):
    """Point and box reach the model in the pixels of its padded square."""
    model = models.open_file(model_file)
    image = Image.open("scene.png")
    with torch.no_grad():
        embedding = model.encode(model.preprocess(image)[None])
        low, _ = model.decode(embedding, boxes=torch.tensor([[[3.0, 6.0, 24.0, 30.0]]]) * (40 / 48), multimask=False)
        expected = model.enlarge(low, (30, 40), (36, 48))[0, 0, 0]
    typed("scene.png", "--box", "3,6,24,30", "--masks", "m", model_file=model_file, capsys=capsys)
    written = torch.from_numpy(np.array(Image.open("m/01-mask.png"))) > 0
    away = expected.abs() > 1e-4  # a float32 model read twice may round otherwise, by some 1e-6
    assert torch.equal(written[away], expected[away] > 0) and away.float().mean() > 0.99


@pytest.mark.parametrize("score, shown", [(1.07, "1.07"), (1.0, "1.00"), (-0.124, "-0.12"), (0.125, "0.12")])
def test_a_predicted_iou_is_no_percentage(score, shown):
    """Its head is unbounded: more than 1, and less than 0, is told as it is."""
    mask = torch.ones(2, 5, dtype=torch.bool)
    assert told(Found("mask", mask.float(), mask, score)) == f"100.0% of the picture, predicted IoU {shown}"
    assert told(Found("mask", mask.float(), ~mask, score)) == f"0.0% of the picture, predicted IoU {shown}: empty"


def test_everything(here, model_file, capsys, monkeypatch):
    monkeypatch.setattr("minimodels.segmenters.sam.Keep", lambda: Keep(iou=0.0, stability=0.0))
    monkeypatch.setattr("minimodels.segmenters.sam.EVERYTHING_SIDE", {False: 3})
    code, out, err = typed("scene.png", "--everything", "--masks", "m", model_file=model_file, capsys=capsys)
    assert code == 0 and not err and " found" in out and (here / "m" / "01-mask.png").is_file()
    assert out.splitlines()[0].strip().split()[0] == str(out.count("predicted IoU"))


def test_nothing_passes_the_thresholds(here, model_file, capsys, monkeypatch):
    monkeypatch.setattr("minimodels.segmenters.sam.Keep", lambda: Keep(iou=9.0))
    monkeypatch.setattr("minimodels.segmenters.sam.EVERYTHING_SIDE", {False: 2})
    code, out, _ = typed("dot.png", "--everything", model_file=model_file, capsys=capsys)
    assert code == 0 and "0 things found: no mask was sure and steady enough" in out


@pytest.mark.parametrize(
    "words, message",
    [
        (["--point", "48,3"], "the point 48,3 lies outside: the picture is 48 x 36 pixels: X from 0 to 47, Y to 35"),
        (["--point", "3,3", "--not", "3,36"], "the point 3,36 lies outside"),
        (["--point=-1,3"], "the point -1,3 lies outside"),
        (["--point", "nan,3"], "'nan,3' is not 2 numbers"),
        (["--point", "3"], "'3' is not 2 numbers with commas between them, as 20,31"),
        (["--box", "1,2,3"], "'1,2,3' is not 4 numbers with commas between them, as 10,20,34,48"),
        (["--box", "1,2,60,30"], "the corner of the box 60,30 lies outside"),
        (["--box", "30,2,10,30"], "--box 30,2,10,30 is no box"),
        (["a dog", "--point", "3,3"], "reads no words"),
        (["--everything", "--box", "1,2,3,4"], "--everything asks at a grid of points of its own"),
        (["--not", "3,3"], "--not says what does not belong to it"),
        (["--point", "3,3", "--compete"], "--compete is about words"),
        (["--point", "3,3", "-o", "out.txt"], "cannot write out.txt"),
    ],
)
def test_mistakes_in_one_line(here, model_file, capsys, words, message):
    code, out, err = typed("scene.png", *words, model_file=model_file, capsys=capsys)
    assert code == 2 and not out and err.count("\n") == 1 and message in err, err
    assert not (here / "segments.png").exists()


def test_another_model(here, capsys):
    code = main(["segment", "scene.png", "--point", "3,3", "--model", "tiny-clip"])
    assert code == 2 and "tiny-clip is a CLIP, which is not asked by clicks and boxes" in capsys.readouterr().err


# ---------------------------------------------------------------- the mask generator


@pytest.fixture(scope="module")
def made(model_file):
    model = models.open_file(model_file).double()  # so exact that no pixel of a mask lies on its edge
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (30, 50, 3), dtype=np.uint8))
    return model, image


def test_batches_of_points_do_not_matter(made):
    model, image = made
    keep = Keep(iou=0.0, stability=0.0)
    few, many = (
        MaskGenerator(SAMProposer(model), points_per_side=4, points_per_batch=n, keep=keep)(image) for n in (3, 64)
    )
    assert [proposal.runs for proposal in few] == [proposal.runs for proposal in many] and len(few) > 0


def test_prompt_sets_with_boxes_and_layers(made):
    """What Matcher asks: sets of points with a box and rules of their own, one choice over all."""
    model, image = made
    make = MaskGenerator(SAMProposer(model))
    view = make.look(image)
    points = torch.rand(5, 3, 2, dtype=torch.float64) * 29
    boxes = torch.tensor([[2.0, 3, 40, 25]]).double().expand(5, -1)
    plain = Keep(iou=0.0, stability=0.0)
    three = make.propose(view, points, boxes, keep=plain)
    last = make.propose(view, points, boxes, keep=Keep(iou=0.0, stability=0.0, layers=(2,)))
    single = make.propose(view, points, keep=Keep(multimask=False, iou=0.0, stability=0.0))
    assert (len(three), len(last), len(single)) == (15, 5, 5)
    assert [proposal.runs for proposal in three[2::3]] == [proposal.runs for proposal in last]
    assert [proposal.point for proposal in single] == [tuple(place) for place in points[:, 0].tolist()]
    chosen = make.best(three + single, 1.0)
    trust = [proposal.predicted_iou for proposal in chosen]
    assert len(chosen) == 20 and trust == sorted(trust, reverse=True)
    assert make.best([], 0.5) == []


def test_runs_boxes_and_areas_of_odd_masks():
    for mask in (np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(4, 5, dtype=bool)):
        runs = generator.encode_runs(mask)
        assert np.array_equal(generator.decode_runs(runs, mask.shape), mask) and sum(runs[1::2]) == mask.sum()
    boxes = generator.mask_boxes(torch.from_numpy(np.stack([np.zeros((4, 5), bool), np.eye(4, 5, dtype=bool)])))
    assert boxes.tolist() == [[0, 0, 0, 0], [0, 0, 3, 3]]


def test_suppression_is_that_of_torchvision():
    from torchvision.ops import nms

    generator_ = torch.Generator().manual_seed(0)
    for threshold in (0.1, 0.5, 0.7, 1.0):
        corners = torch.rand(200, 2, 2, generator=generator_) * 20
        boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1).round()
        scores = torch.rand(200, generator=generator_).mul(20).round()  # many are equal
        assert generator.suppress(boxes, scores, threshold) == nms(boxes, scores, threshold).tolist()


MUTANTS = {
    "boxes count their last pixel": StandIn(
        generator, "mask_boxes", lambda masks, right=generator.mask_boxes: right(masks) + 1
    ),
    "stability with the raised threshold alone": StandIn(
        generator,
        "stability",
        lambda logits, threshold=0.0, offset=1.0: (logits > threshold + offset).double().mean((-2, -1)),
    ),
    "nothing is suppressed": StandIn(generator, "suppress", lambda boxes, scores, threshold: list(range(len(boxes)))),
    "grid from corner to corner": StandIn(
        generator,
        "point_grid",
        lambda side: torch.cartesian_prod(*[torch.linspace(0, 1, side, dtype=torch.float64)] * 2).flip(-1),
    ),
    "no masks cut off by a crop are dropped": StandIn(
        generator,
        "near_crop_edge",
        lambda boxes, crop, size: torch.zeros(len(boxes), dtype=torch.bool),
    ),
}
FINDS = {"no masks cut off by a crop are dropped": "amg_helpers"}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_miss_the_official_numbers(root, name):
    from tests.golden import read_case, run_case

    with torch.no_grad(), MUTANTS[name]():
        lines = run_case(read_case(root / "tests/golden/sam" / FINDS.get(name, "generate_nms")))
    assert any(line.ok is False for line in lines)
