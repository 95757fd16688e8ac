"""`python -m minimodels match` as a person types it: masks, round trips, odd pictures, each mistake in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from lessons.stickers.questions import one_shot_pair
from lessons.stickers.scenes import draw
from lessons.stickers.splits import TEST
from minimodels.__main__ import main
from minimodels.clip import CLIP
from minimodels.dinov2 import DINOv2
from minimodels.errors import UserError
from minimodels.patch_features import PatchFeatures
from minimodels.pixels.preprocess import TimmPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam import SAM
from minimodels.stored import embedded, models, tiny_matcher
from minimodels.vit import ViT
from tests.commands.test_segment import CLIP_NUMBERS

DINOV2 = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32}
SMALL_SAM = {
    "image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "window_size": 2,
    "global_blocks": (), "prompt_dim": 16, "decoder_heads": 2, "decoder_mlp_dim": 16, "iou_dim": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    """A DINOv2 and a SAM in miniature with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    stickers = {"trained_on": "Sticker World, split train"}
    about = {"system": "dinov2", "class": "DINOv2", "arguments": DINOV2, **stickers}
    models.save(
        folder / "d.safetensors", DINOv2(**DINOV2), {**about, "preprocess": preprocess_to_dict(TimmPreprocess(32))}
    )
    about = {"system": "sam", "class": "SAM", "arguments": SMALL_SAM, **stickers}
    models.save(
        folder / "s.safetensors", SAM(**SMALL_SAM), {**about, "preprocess": preprocess_to_dict(PaddedPreprocess(32))}
    )
    return f"{folder / 'd.safetensors'},{folder / 's.safetensors'}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a reference, its mask, and targets of two sizes."""
    monkeypatch.chdir(tmp_path)
    dice = np.random.default_rng(0)
    for name, size in (("ref.png", (40, 30)), ("target.png", (48, 48)), ("wide.png", (90, 20))):
        Image.fromarray(dice.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(name)
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 10:30] = 255
    thin = np.zeros((30, 40), np.uint8)
    thin[3, 5] = 255
    drawn = {"mask": mask, "black": mask * 0, "white": mask * 0 + 255, "half": mask[:, :20], "thin": thin}
    for name, pixels in drawn.items():
        Image.fromarray(pixels).save(f"{name}.png")
    (tmp_path / "words.txt").write_text("no picture")
    return tmp_path


@pytest.fixture
def run(here, capsys, model_files):
    """Run a command line; gives code, stdout and stderr."""

    def call(*words, model=model_files):
        code = main(["match", *map(str, words), "--model", str(model), "--size", "32"])
        return code, *capsys.readouterr()

    return call


def test_masks_have_the_targets_own_size(run, here):
    code, out, _ = run("ref.png", "mask.png", "target.png", "wide.png", "--masks", "m", "--least", "-9", "-o", "o.png")
    assert code == 0 and "target.png: " in out and "wide.png: " in out and "wrote o.png" in out
    for name, size in (("target", (48, 48)), ("wide", (90, 20))):
        with Image.open(here / "m" / f"{name}-mask.png") as mask:
            assert mask.size == size and mask.mode == "L" and set(np.unique(mask)) <= {0, 255}
    assert Image.open("o.png").width > 700


def test_both_ways_prints_the_round_trip(run):
    code, out, _ = run("ref.png", "mask.png", "target.png", "--both-ways", "--least", "-9")
    assert code == 0 and "back to ref.png: " in out and "round trip IoU " in out


def test_the_picture_itself_comes_back(run):
    """Reference equal to target: every match is the patch itself, so all of them come back."""
    code, out, _ = run("ref.png", "mask.png", "ref.png", "--least", "-9", "--setting", "whole")
    pairs = out.split("; ")[1].split(" matches")[0].split(" of ")
    assert code == 0 and pairs[0] == pairs[1]


@pytest.mark.parametrize("words", [("ref.png", "target.png"), ("ref.png", "-", "target.png")])
def test_without_a_mask_the_middle_is_looked_for(run, words):
    code, _, err = run(*words, "--both-ways")
    assert code == 0 and "the middle of the first picture" in err


def test_what_is_not_there_gets_no_mask(run, here):
    code, out, _ = run("ref.png", "mask.png", "target.png", "--least", "2", "--masks", "m", "--both-ways")
    assert code == 0 and "target.png: not found (score " in out and "2.00 is asked" in out
    assert "nothing to go back from" in out
    assert not np.array(Image.open(here / "m" / "target-mask.png")).any()


def test_full_and_thin_masks(run):
    code, _, err = run("ref.png", "white.png", "target.png")
    assert code == 0 and "marks the whole picture" in err
    assert run("ref.png", "thin.png", "target.png")[0] == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_formats(run, dtype):
    """Back on itself every patch is found again, whatever the networks compute in."""
    code, out, err = run("ref.png", "mask.png", "ref.png", "--least", "-9", "--both-ways", "--dtype", dtype)
    assert code == 0 and "Traceback" not in err and "back to ref.png: " in out


def test_seeds_and_photographs(run):
    assert (
        run("ref.png", "mask.png", "target.png", "--seed", "3")[1]
        == run("ref.png", "mask.png", "target.png", "--seed", "3")[1]
    )
    assert "only the stickers" in run("ref.png", "mask.png", "target.png")[2]  # ref.png is not square


MISTAKES = [
    (("ref.png", "-"), "no picture to look in"),
    (("ref.png",), "arguments are required"),
    (("none.png", "mask.png", "target.png"), "does not exist"),
    (("ref.png", "none.png", "target.png"), "does not exist"),
    (("ref.png", "mask.png", "none.png"), "does not exist"),
    (("ref.png", "mask.png", "words.txt"), "is text, not a picture"),
    (("ref.png", "black.png", "target.png"), "is all black"),
    (("ref.png", "half.png", "target.png"), "has 20 x 30 pixels and ref.png 40 x 30"),
    (("ref.png", "mask.png", "target.png", "--setting", "other"), "invalid choice"),
    (("ref.png", "mask.png", "target.png", "-o", "out.txt"), "no picture format"),
    (("ref.png", "mask.png", "target.png", "--masks", "words.txt"), "cannot write"),
]


@pytest.mark.parametrize("words, told", MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_mistakes_are_one_line(run, here, words, told):
    before = sorted(path.name for path in here.iterdir())
    code, _, err = run(*words)
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: ") and told in lines[0]
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda d, s: d, "a DINOv2 and a SAM with a comma"),
        (lambda d, s: f"{d},", "a DINOv2 and a SAM with a comma"),
        (lambda d, s: f"{s},{d}", "s.safetensors is a SAM, which has no patches"),
        (lambda d, s: f"{d},{d}", "d.safetensors is a DINOv2, which draws no masks"),
        (lambda d, s: f"{d},tiny-samm", "tiny-samm"),
    ],
)
def test_models_that_do_not_fit(run, model_files, change, told):
    code, _, err = run("ref.png", "mask.png", "target.png", model=change(*model_files.split(",")))
    assert code == 2 and told in err and len(err.splitlines()) == 1


def test_sizes_that_are_no_multiple(here, model_files, capsys):
    code = main(["match", "ref.png", "mask.png", "target.png", "--model", model_files, "--size", "33"])
    assert code == 2 and "no multiple of the 4 pixels" in capsys.readouterr().err


@pytest.mark.skipif("tiny-sam" not in embedded.names(), reason="there are no weights of tiny SAM")
def test_the_embedded_matcher_finds_a_sticker_and_misses_an_absent_one(here, capsys):
    """As a person types it, with no model named: an owl in a scene with one, and in a scene without."""
    for name, number in (("there", 20), ("absent", 21)):
        (scene, chosen), (target, other) = one_shot_pair(number, TEST, hard=True)
        for file, pixels in ((f"{name}-ref", draw(scene)[0]), (name, draw(target)[0])):
            Image.fromarray(pixels).save(f"{file}.png")
        if name == "there":
            Image.fromarray((draw(scene)[1] == chosen + 1).astype(np.uint8) * 255).save("owl.png")
            right = draw(target)[1] == other + 1
    code = main(["match", "there-ref.png", "owl.png", "there.png", "absent.png", "--masks", "m", "--both-ways"])
    out, err = capsys.readouterr()
    assert code == 0 and err == "" and "absent.png: not found" in out
    mask = np.array(Image.open(here / "m" / "there-mask.png")) > 0
    assert (mask & right).sum() > 0.6 * (mask | right).sum()
    assert float(out.split("round trip IoU ")[1].split()[0]) > 0.5


# ---------------------------------------------------------------- features of a ViT or a CLIP


@pytest.mark.parametrize("side", [32, 64])
def test_patch_features_are_a_blocks_tokens(side):
    torch.manual_seed(0)
    numbers = {"image_size": (32, 32), "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 16}
    for model, first in (
        (ViT(**numbers), 1),
        (ViT(**numbers, class_token=False, mean_pool=True), 0),
        (CLIP(**CLIP_NUMBERS), 1),
    ):
        seen = []
        tower = model.image_tower if isinstance(model, CLIP) else model
        tower.blocks[0].register_forward_hook(lambda module, given, output, seen=seen: seen.append(output))
        found = PatchFeatures(model, 0).patch_features(torch.randn(2, 3, side, side))
        assert torch.equal(found, seen[0][:, first:]) and found.shape[1] == (side // 8) ** 2


def test_patch_features_of_what_has_none():
    with pytest.raises(UserError, match="a Linear has no patch tokens"):
        PatchFeatures(torch.nn.Linear(1, 1), 0)
    with pytest.raises(UserError, match="there is no block 2: this tower has 2"):
        PatchFeatures(CLIP(**CLIP_NUMBERS), 2)


def test_a_clip_is_joined_by_its_middle_block():
    model = tiny_matcher.join(CLIP(**CLIP_NUMBERS), SAM(**SMALL_SAM), num_centers=0)
    assert model.features.block == 0 and model.patch_size == 8
