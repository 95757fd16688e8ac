"""Who can be asked how: models are told apart by their files in `minimodels.segmenters`, and a new file is enough."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from minimodels import segmenters
from minimodels.__main__ import main
from minimodels.segmenters import Kind, Prompts

NEW_MODEL = '''
"""A model that nobody knows: how bright is it where, beside a text and a click?"""

import torch
from torch import nn

from minimodels.segmenters import Answer, Kind, Segmenter, read_pixels, to_picture_size


class Brightness(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.tokenize = None

    def preprocess(self, picture):
        small = picture.convert("RGB").resize((8, 8))
        return torch.tensor(list(small.getdata())).view(8, 8, 3).permute(2, 0, 1) / 255


def segment(model, picture, prompts):
    level = read_pixels(model, picture).mean(dim=1) * model.gain  # (1, 8, 8)
    logits = torch.cat([level - float(text) for text in prompts.texts])
    return Answer([f"above {text}" for text in prompts.texts], to_picture_size(logits, picture).detach())


TAKES = {Kind.TEXTS: "levels", Kind.PLACES: "clicks"}
SEGMENTER = Segmenter(Brightness, TAKES, segment, "tiny-brightness", threshold=0.6)
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ramp = np.tile(np.arange(48, dtype=np.uint8) * 5, (30, 1))
    Image.fromarray(np.stack([ramp] * 3, axis=-1)).save("ramp.png")
    return tmp_path


@pytest.fixture
def brightness(tmp_path, monkeypatch):
    """The file of a new model in a folder of its own, which belongs to the package during a test."""
    place = tmp_path / "more"
    place.mkdir()
    (place / "brightness.py").write_text(NEW_MODEL)
    monkeypatch.setattr(segmenters, "__path__", [*segmenters.__path__, str(place)])
    monkeypatch.setattr("minimodels.__main__.load_official", lambda name, **_: by_name()["Brightness"].model())
    yield
    sys.modules.pop("minimodels.segmenters.brightness", None)


def by_name():
    return {one.called: one for one in segmenters.find_segmenters()}


def test_each_file_is_found_and_serves_its_model():
    found = by_name()
    assert {"CLIPSeg", "LAVT", "SAM"} <= set(found)
    for one in found.values():
        assert one.takes and set(one.takes) <= set(Kind) and 0 < one.threshold < 1
        heir = type("Heir", (one.model,), {})
        for cls in (one.model, heir):
            assert segmenters.segmenter_of(cls.__new__(cls)) == one
    assert segmenters.segmenter_of(nn.Linear(1, 1)) is None


def test_kinds_of_prompts():
    assert Prompts(texts=("a",)).kinds == [Kind.TEXTS]
    assert Prompts(texts=("a",), box=(0.0, 0.0, 1.0, 1.0)).kinds == [Kind.TEXTS, Kind.PLACES]
    assert Prompts(beside=((0.0, 0.0),)).kinds == [Kind.PLACES] and Prompts(everything=True).kinds == [Kind.EVERYTHING]
    assert Prompts().kinds == []


def test_one_new_file_is_a_new_segmenter(here, brightness, capsys):
    """Every option of the command serves a model that came with one file; its own threshold counts."""
    words = ["segment", "ramp.png", "0", "0.5", "--model", "bright.pth", "--masks", "m", "--probabilities"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "above 0: " in out and "above 0.5: " in out and not err
    names = ["01-above-0-probability.png", "01-above-0.png", "02-above-0-5-probability.png", "02-above-0-5.png"]
    assert sorted(path.name for path in (here / "m").iterdir()) == names
    mask, level = (np.array(Image.open(here / "m" / name)) for name in ("01-above-0.png", "01-above-0-probability.png"))
    assert mask.shape == (30, 48) and 0 < mask.mean() < 255
    assert level[mask > 0].min() >= 0.6 * 255 - 1 and level[mask == 0].max() <= 0.6 * 255 + 1
    assert main([*words, "--compete", "--threshold", "0", "-o", "all.png"]) == 0
    first, second = (np.array(Image.open(here / "m" / name)) for name in (names[1], names[3]))
    assert (first == 255).all() and not second.any()


def test_what_the_new_model_does_not_take_is_said(here, brightness, capsys):
    assert main(["segment", "ramp.png", "--everything", "--model", "bright.pth"]) == 2
    err = capsys.readouterr().err
    assert "bright.pth is a Brightness, which is asked by levels or clicks only" in err and "a SAM (tiny-sam" in err
    assert main(["segment", "ramp.png", "a cat", "--point", "1,1", "--model", "tiny-sam"]) == 2
    assert "reads no words; that needs a Brightness (tiny-brightness)" in capsys.readouterr().err


REFUSED = [
    (["a cat", "--point", "1,1"], "is asked by words and by clicks and boxes at once: a SAM reads no words"),
    (["a cat", "--everything"], "is asked by words and by a grid of points at once: a SAM reads no words"),
    (["--point", "1,1", "--model", "tiny-clipseg"], "by texts or a prompt picture only and is not asked by clicks"),
    (["a cat", "--model", "tiny-sam"], "is a SAM, which is asked by clicks and boxes or a grid of points only"),
    (["a cat", "--model", "tiny-sam"], "needs a CLIPSeg (tiny-clipseg or CIDAS/clipseg-rd64-refined) or a LAVT"),
    (["a cat", "--model", "tiny-vit"], "tiny-vit is a ViT, which is not asked by words where something is"),
    (["--prompt-image", "ramp.png", "--model", "tiny-lavt"], "by sentences only and looks at no other picture"),
    (["--everything", "--probabilities", "--masks", "m"], "--everything finds masks without probabilities"),
    (["--everything", "--threshold", "0.3"], "--everything finds masks without probabilities"),
]


@pytest.mark.parametrize("words, told", REFUSED)
def test_who_cannot_be_asked(here, capsys, words, told):
    code = main(["segment", "ramp.png", *words])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code == 2 and not out and len(lines) == 1 and told in lines[0], err
    assert not (here / "segments.png").exists()


def test_clicks_have_probabilities_and_a_threshold_too(here, capsys):
    assert main(["segment", "ramp.png", "--box", "3,3,30,20", "--masks", "a", "--probabilities"]) == 0
    assert sorted(path.name for path in (here / "a").iterdir()) == ["01-mask-probability.png", "01-mask.png"]
    assert main(["segment", "ramp.png", "--box", "3,3,30,20", "--masks", "b", "--threshold", "0"]) == 0
    assert np.array(Image.open(here / "b" / "01-mask.png")).all()


def test_logits_come_at_the_size_of_the_picture():
    logits = torch.randn(2, 4, 4, dtype=torch.bfloat16)
    assert segmenters.to_picture_size(logits, Image.new("RGB", (7, 3))).shape == (2, 3, 7)


def test_asking_needs_only_what_is_asked(root):
    """The room holds no list: its own file imports no model."""
    code = "import sys, minimodels.segmenters\nprint([n for n in sys.modules if n.startswith('minimodels.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) == {"minimodels.errors", "minimodels.segmenters"}
