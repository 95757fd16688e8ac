"""`python -m minimodels segment` as a person types it: masks, mixes, odd pictures, each mistake in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from lessons.stickers.scenes import Dice, Sticker, compose, draw
from lessons.stickers.sheet import CLASS_NUMBER
from lessons.stickers.splits import TEST
from lessons.stickers.textures import BACKGROUNDS
from minimodels.__main__ import main
from minimodels.clip import CLIP
from minimodels.commands import segment
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.segmenters import clipseg
from minimodels.stored import embedded, models
from minimodels.words.byte_pair import BytePairTokenizer, learn_merges

MERGES = learn_merges(["a small red car left of a dog on grass", "a big owl at night"], 40)
CLIP_NUMBERS = {
    "embed_dim": 16,
    "image_size": 32,
    "patch_size": 8,
    "context_length": 24,
    "quick_gelu": False,
    "vision_width": 32,
    "vision_depth": 2,
    "vision_heads": 2,
    "text_width": 32,
    "text_depth": 1,
    "text_heads": 2,
    "vocab_size": BytePairTokenizer(MERGES).vocab_size,
}
TOKENIZER = {"kind": "bpe", "merges": MERGES, "context_length": 24}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A CLIPSeg in miniature with random weights, whose masks are neither empty nor full."""
    torch.manual_seed(1)
    decoder = {"extract_layers": (0, 1), "reduce_dim": 8, "decoder_heads": 2, "decoder_mlp_dim": 16}
    numbers = {"clip": {"class": "CLIP", "arguments": CLIP_NUMBERS}, **decoder}
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    about = {
        "system": "clipseg",
        "class": "CLIPSeg",
        "arguments": numbers,
        "tokenizer": TOKENIZER,
        "preprocess": preprocess_to_dict(TensorPreprocess(32)),
        "trained_on": "Sticker World, split train",
    }
    model = models.make("CLIPSeg", numbers)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
    models.save(path, model, about)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a scene, a prompt picture and its mask."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name, size in (("scene.png", (48, 48)), ("ref.png", (40, 30)), ("wide.png", (90, 20)), ("dot.png", (3, 1))):
        Image.fromarray(generator.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(name)
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 10:30] = 255
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(mask // 255).save("ones.png")
    Image.fromarray(mask * 0).save("black.png")
    Image.fromarray(mask[:, :20]).save("half.png")
    (tmp_path / "words.txt").write_text("no picture")
    return tmp_path


@pytest.fixture
def run(here, capsys, model_file):
    """Run a command line; gives code, stdout and stderr."""

    def call(*words, model=model_file):
        code = main(["segment", *map(str, words), "--model", str(model)])
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("name", ["scene.png", "wide.png", "dot.png"])
def test_masks_have_the_pictures_own_size(run, here, name):
    code, out, _ = run(name, "a dog", "grass", "--masks", "masks", "--probabilities", "-o", "out.png")
    assert code == 0 and "a dog: " in out and "wrote out.png" in out
    names = ["01-a-dog-probability.png", "01-a-dog.png", "02-grass-probability.png", "02-grass.png"]
    assert sorted(path.name for path in (here / "masks").iterdir()) == names
    size = Image.open(name).size
    for path in (here / "masks").iterdir():
        with Image.open(path) as mask:
            assert mask.mode == "L" and mask.size == size
            assert "probability" in path.name or set(np.unique(mask)) <= {0, 255}
    with Image.open(here / "out.png") as drawn:
        assert drawn.height > drawn.width * size[1] / size[0] or name == "dot.png"


def test_masks_are_the_models_own(run, here, model_file):
    """What is written is the model's answer: the threshold and the resize done once more by hand."""
    run("wide.png", "a dog", "--masks", "masks", "--threshold", "0.4")
    model = models.open_file(model_file)
    picture = Image.open("wide.png")
    with torch.no_grad():
        logits = model(model.preprocess(picture)[None], model.encode_text(model.tokenize(["a dog"]))[None])
    full = torch.nn.functional.interpolate(logits, (20, 90), mode="bilinear", align_corners=False)[0, 0]
    written = torch.from_numpy(np.array(Image.open("masks/01-a-dog.png"))) == 255
    probability = full.sigmoid()
    away = (probability - 0.4).abs() > 1e-5  # a float32 model read twice may round otherwise, by some 1e-7
    assert torch.equal(written[away], probability[away] > 0.4) and away.float().mean() > 0.99


def test_prompts_that_compete_share_no_pixel(run, here):
    texts = ("a dog", "an owl", "a car")
    run("scene.png", *texts, "--masks", "alone", "--threshold", "0")
    run("scene.png", *texts, "--masks", "together", "--threshold", "0", "--compete")
    alone, together = (
        np.stack([np.array(Image.open(path)) == 255 for path in sorted((here / folder).iterdir())])
        for folder in ("alone", "together")
    )
    assert alone.all() and (together.sum(axis=0) == 1).all()


def test_picture_prompts_and_mixes(run, here, model_file):
    """A mix of weight 1 is the text, of weight 0 the picture; without --mix the picture is one more prompt."""
    reference = ("--prompt-image", "ref.png", "--prompt-mask", "mask.png", "--masks")
    assert run("scene.png", "a dog", *reference, "both", "--probabilities")[0] == 0
    for weight in (0, 0.5, 1):
        code, out, _ = run("scene.png", "a dog", *reference, f"{weight}", "--mix", weight, "--probabilities")
        assert code == 0 and f"a dog ({weight:g}) + like ref.png" in out

    def written(folder, start):
        return np.array(Image.open(next((here / folder).glob(f"{start}*probability.png")))).astype(int)

    def largest(a, b):  # in steps of 1/255; the model is read anew each time, so a pixel may round to the next one
        return np.abs(a - b).max()

    assert largest(written("both", "01"), written("1", "01")) <= 1
    assert largest(written("both", "02"), written("0", "01")) <= 1
    assert largest(written("0.5", "01"), written("1", "01")) > 1


def test_a_picture_alone_and_masks_of_ones(run):
    code, _, err = run("scene.png", "--prompt-image", "ref.png")
    assert code == 0 and "whole prompt picture" in err
    assert run("scene.png", "--prompt-image", "ref.png", "--prompt-mask", "ones.png")[0] == 0


def test_photographs_are_told_from_scenes(run):
    assert "only the stickers" in run("wide.png", "a dog")[2]
    assert "only the stickers" not in run("scene.png", "a dog")[2]


REFERENCE = ("--prompt-image", "ref.png")
MISTAKES = [
    (("scene.png",), "nothing to look for"),
    (("none.png", "a dog"), "does not exist"),
    (("words.txt", "a dog"), "is text, not a picture"),
    (("scene.png", ""), "text 1 is empty"),
    (("scene.png", "a dog", " "), "text 2 is empty"),
    (("scene.png", "a dog", "--threshold", "1.5"), "not a number from 0 to 1"),
    (("scene.png", "a dog", "--threshold", "nan"), "not a number from 0 to 1"),
    (("scene.png", "a dog", "--mix", "0.5"), "--prompt-image REF, which is not given"),
    (("scene.png", "a dog", "--prompt-mask", "mask.png"), "--prompt-image REF, which is not given"),
    (("scene.png", "a dog", "an owl", *REFERENCE, "--mix", "0.5"), "2 texts and 1 picture"),
    (("scene.png", *REFERENCE, "--mix", "0.5"), "0 texts and 1 picture"),
    (("scene.png", *REFERENCE, "--mix", "-1"), "not a number from 0 to 1"),
    (("scene.png", *REFERENCE, "--prompt-mask", "half.png"), "has 20 x 30 pixels and ref.png 40 x 30"),
    (("scene.png", *REFERENCE, "--prompt-mask", "black.png"), "is all black"),
    (("scene.png", *REFERENCE, "--prompt-mask", "none.png"), "does not exist"),
    (("scene.png", "--prompt-image", "words.txt"), "is text, not a picture"),
    (("scene.png", "a dog", "--probabilities"), "--masks DIR"),
    (("scene.png", "a dog", "-o", "out.txt"), "no picture format"),
    (("scene.png", "a dog", "-o", "words.txt/out.png"), "cannot write"),
    (("scene.png", "a dog", "--masks", "words.txt"), "cannot write"),
]


@pytest.mark.parametrize("words, told", MISTAKES, ids=[" ".join(words) or "nothing" for words, _ in MISTAKES])
def test_mistakes_are_one_line(run, here, words, told):
    before = sorted(path.name for path in here.iterdir())
    code, _, err = run(*words)
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: ") and told in lines[0]
    assert sorted(path.name for path in here.iterdir()) == before


def test_other_models_are_refused(run, here):
    about = {
        "system": "clip",
        "class": "CLIP",
        "arguments": CLIP_NUMBERS,
        "tokenizer": TOKENIZER,
        "preprocess": preprocess_to_dict(CLIPPreprocess(32)),
    }
    models.save("clip.safetensors", CLIP(**CLIP_NUMBERS), about)
    code, _, err = run("scene.png", "a dog", model="clip.safetensors")
    assert code == 2 and "is a CLIP" in err and "CLIPSeg" in err
    code, _, err = run("scene.png", "a dog", model="tiny-clipsegg")
    assert code == 2 and len(err.splitlines()) == 1


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["segment", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and "examples:" in out and "Without --model it is tiny-clipseg" in out


@pytest.mark.skipif(segment.DEFAULT not in embedded.names(), reason="the trained weights are not here")
def test_the_embedded_weights_are_the_default(here, capsys):
    """An unseen scene of two stickers: what is named is found where it is, what is not there is not."""
    dog, owl = (
        Sticker(CLASS_NUMBER["dog"], 0, 1, 0, False, 18, 20),
        Sticker(CLASS_NUMBER["owl"], 0, 1, 0, False, 46, 44),
    )
    scene = compose(Dice(TEST.seed(0)), TEST, BACKGROUNDS.index("sand"), [dog, owl])
    picture, owner = draw(scene)
    Image.fromarray(picture).save("stickers.png")
    assert main(["segment", "stickers.png", "a dog", "an owl", "a rocket", "--masks", "masks"]) == 0
    out, err = capsys.readouterr()
    assert "a rocket: not found" in out and err == ""
    for number, name in ((1, "01-a-dog.png"), (2, "02-an-owl.png")):
        found = np.array(Image.open(here / "masks" / name)) == 255
        assert (found & (owner == number)).sum() / (found | (owner == number)).sum() > 0.5


def test_the_released_recipe_blurs_and_the_stickers_recipe_cuts_on_grey():
    pixels, mask = torch.randn(1, 3, 32, 32), torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, 8:16, 8:16] = True
    stickers, released = (clipseg.cut_out(pixels, mask, stickers=choice) for choice in (True, False))
    assert (stickers == 0).float().mean() > 0.7 and (released == 0).float().mean() < 0.1
