"""`python -m minimodels which` as a person types it: boxes given and found, three ways, each mistake in one line."""

import json

import pytest
import torch
from PIL import Image

from lessons.stickers.refer import expression
from lessons.stickers.scenes import draw
from lessons.stickers.splits import TEST
from minimodels.errors import UserError
from minimodels.falip import ALPHA, FoveatedCLIP, foveal_masks
from minimodels.pixels.box_prompts import blur_outside, circle, cut_out, whole_pixels
from minimodels.stored import models
from tests.commands.command_line import assert_one_clear_line, command_line, paint, spoil, write_model

TWO = ["--box", "0,0,20,48", "--box", "20,10,48,40"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "small.safetensors", seed=0)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model_file):
    call = command_line(capsys, monkeypatch, tmp_path, model_file)
    paint("a.png")
    return lambda *words, **options: call("which", *words, **options)


def read(result):
    assert result[0] == 0, result
    return json.loads(result[1])


def test_a_table_and_a_picture(run):
    code, out, _ = run("a.png", "a dog", *TWO)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 3 and lines[-1] == "wrote which.png"
    assert sorted(line.split()[:2] for line in lines[:2]) == [["1:", "0,0,20,48"], ["2:", "20,10,48,40"]]
    with Image.open("which.png") as drawn:
        assert drawn.size == (384, 384)


@pytest.mark.parametrize("by", ["falip", "crop", "circle"])
def test_json_compares_the_boxes(run, by, tmp_path):
    answer = read(run("a.png", "a dog", *TWO, "--by", by, "--json"))
    assert answer["by"] == by and answer["of"] == 2 and answer["text"] == "a dog"
    assert sum(row["probability"] for row in answer["boxes"]) == pytest.approx(1)
    assert answer["boxes"][0]["cosine"] >= answer["boxes"][1]["cosine"]
    assert not (tmp_path / "here" / "which.png").exists()


def test_falip_is_the_model_of_the_lesson(run, model_file):
    """The cosines of the command are those of `FoveatedCLIP`, computed here from the model's own parts."""
    found = read(run("a.png", "a dog", *TWO, "--json", "--dtype", "float64", "--alpha", "3"))
    model = models.open_file(model_file).double()
    with Image.open("a.png") as opened:
        image = model.preprocess(opened.convert("RGB"))[None].double()
    masks = foveal_masks([(0, 0, 20, 48), (20, 10, 48, 40)], (48, 48), 32, 8, alpha=3.0)
    with torch.no_grad():
        seen = FoveatedCLIP(model).encode_image(image, masks)
        scores = FoveatedCLIP(model).scores(seen, model.encode_text(model.tokenize(["a dog"])))[0]
    for row in found["boxes"]:
        assert row["probability"] == pytest.approx(float(scores.softmax(0)[row["number"] - 1]), abs=1e-9)


def test_alpha_and_first_block_change_the_answer(run):
    answers = [
        read(run("a.png", "a dog", *TWO, "--json", *words))["boxes"][0]["probability"]
        for words in ([], ["--alpha", str(ALPHA), "--first-block", "0"], ["--alpha", "9"])
    ]
    assert answers[0] == answers[1] != answers[2]


def test_one_box_has_it_all(run):
    assert read(run("a.png", "a dog", "--box", "1,1,9,9", "--json"))["boxes"][0]["probability"] == 1


@pytest.mark.parametrize("by", ["falip", "crop"])
def test_five_hundred_boxes(run, by):
    boxes = [word for n in range(500) for word in ("--box", f"{n % 20},{n // 20 % 20},{n % 20 + 9},{n // 20 % 20 + 9}")]
    found = read(run("a.png", "a dog", *boxes, "--by", by, "--json", "--top", "3"))
    assert found["of"] == 500 and len(found["boxes"]) == 3


def test_a_wide_picture_is_squashed_not_cropped(run):
    """A box at the right end, which a centre crop would cut off, is another than the one at the left."""
    paint("wide.png", size=(160, 40))
    found = read(run("wide.png", "a dog", "--box", "0,0,30,40", "--box", "130,0,160,40", "--json", "--alpha", "5"))
    assert found["boxes"][0]["cosine"] != found["boxes"][1]["cosine"]


def test_the_right_sticker_among_sams_boxes(run):
    """Without --box tiny-sam finds them; tiny-clip, by FALIP, means a box around the sticker of that class."""
    asked = expression(3, TEST, "class")
    picture, owner = draw(asked.scene)
    Image.fromarray(picture).save("scene.png")
    found = read(run("scene.png", asked.text.replace("the", "a"), "--json", model="tiny-clip"))
    assert found["of"] > 1
    left, top, right, bottom = found["boxes"][0]["box"]
    rows, columns = (owner == asked.target + 1).nonzero()
    assert left <= columns.mean() <= right and top <= rows.mean() <= bottom


BAD = {
    "outside": (["--box", "0,0,49,48"], ["0, 0, 49, 48", "48 x 48 pixels"]),
    "negative": (["--box=-1,0,4,4"], ["-1, 0, 4, 4"]),
    "of zero size": (["--box", "5,5,5,9"], ["left < right"]),
    "reversed": (["--box", "9,9,1,1"], ["left < right"]),
    "NaN": (["--box", "nan,0,4,4"], ["is not 4 numbers"]),
    "three numbers": (["--box", "1,2,3"], ["is not 4 numbers"]),
    "words": (["--box", "dog"], ["is not 4 numbers"]),
    "another way": ([*TWO, "--by", "magic"], ["invalid choice", "magic"]),
    "alpha of a crop": ([*TWO, "--by", "crop", "--alpha", "1"], ["--alpha is about --by falip"]),
    "alpha without bounds": ([*TWO, "--alpha", "1e30"], ["--alpha 1e+30", "1000"]),
    "alpha NaN": ([*TWO, "--alpha", "nan"], ["'nan' is not a number"]),
    "no such block": ([*TWO, "--first-block", "7"], ["count from 0 to 0"]),
    "a block before the first": ([*TWO, "--first-block=-1"], ["whole number"]),
    "a SAM that is not asked": ([*TWO, "--sam", "tiny-sam"], ["leave --box or --sam away"]),
    "no SAM": (["--sam", "tiny-vit"], ["tiny-vit is a ViT", "needs a SAM"]),
    "no place in the template": ([*TWO, "--template", "a dog"], ["no place for the label"]),
    "over the picture": ([*TWO, "-o", "a.png"], ["one of the pictures that are read"]),
}


@pytest.mark.parametrize("words, told", BAD.values(), ids=BAD)
def test_mistakes(run, words, told):
    assert_one_clear_line(run("a.png", "a dog", *words), *told)


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "huge", "directory"])
def test_pictures_that_are_none(run, kind, tmp_path):
    assert_one_clear_line(run(spoil(tmp_path / "here" / "bad.png", kind), "a dog", *TWO))


def test_an_empty_text(run):
    assert_one_clear_line(run("a.png", "  ", *TWO), "text 1 is empty")


def test_a_model_without_words(run):
    assert_one_clear_line(run("a.png", "a dog", *TWO, model="tiny-vit"), "tiny-vit is a ViT")


# ---------------------------------------------------------------- pictures with a box in them


def grey(size=(40, 30)):
    return Image.linear_gradient("L").resize(size).convert("RGB")


def test_what_is_cut_out():
    assert whole_pixels((1.2, 2.0, 9.1, 11.0), (40, 30)) == (1, 2, 10, 11)
    assert whole_pixels((0, 10, 20, 30), (40, 30), 0.1) == (0, 8, 22, 30)
    assert list(cut_out(grey(), (5, 6, 9, 12)).getdata()) == list(grey().crop((5, 6, 9, 12)).getdata())


def test_a_circle_goes_around_the_box():
    """Nothing inside the ellipse that fills the box is touched, and red stands at its four ends."""
    drawn, box = circle(grey(), (10, 8, 30, 22), width=0.05), (10, 8, 30, 22)
    for x in range(10, 30):
        for y in range(8, 22):
            if ((x + 0.5 - 20) / 9) ** 2 + ((y + 0.5 - 15) / 6) ** 2 < 1:
                assert drawn.getpixel((x, y)) == grey().getpixel((x, y))
    for place in ((9, 15), (30, 15), (20, 7), (20, 22)):
        assert drawn.getpixel(place)[0] > 200 and drawn.getpixel(place)[1] < 60, (place, box)


def test_blur_leaves_the_box():
    picture = Image.effect_noise((40, 30), 90).convert("RGB")
    blurred = blur_outside(picture, (10, 8, 30, 22))
    assert list(blurred.crop((10, 8, 30, 22)).getdata()) == list(picture.crop((10, 8, 30, 22)).getdata())
    assert max(b - a for a, b in blurred.crop((0, 0, 40, 5)).getextrema()) < 60


def test_a_file_of_no_model(run, tmp_path):
    (tmp_path / "x.safetensors").write_text("no model")
    assert_one_clear_line(run("a.png", "a dog", *TWO, model=tmp_path / "x.safetensors"))
    with pytest.raises(UserError):
        models.open_file(tmp_path / "x.safetensors")
