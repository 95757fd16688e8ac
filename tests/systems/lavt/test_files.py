"""LAVT's files: both official layouts there and back, what they hold besides, words and pixels, and wrong files."""

import argparse
import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints_convert import build, export
from checkpoints_convert.fetching import hub
from checkpoints_convert.load import load
from checkpoints_convert.proof.verify import difference, redraw_all
from checkpoints_convert.reading.files import read_tensors
from checkpoints_convert.tables import entries, lavt
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings
from minimodels.lavt import LAVT
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_tensor import SquashPreprocess
from minimodels.stored import models
from minimodels.words.word_piece import learn_words

VOCABULARY = learn_words(["the small dog on the left of the big red star at the top"])
# Four stages, as the official files have them.
BERT_SIZES = {
    "vocab_size": len(VOCABULARY), "max_length": 30, "embed_dim": 64, "depth": 2, "num_heads": 1, "mlp_dim": 24,
}  # fmt: skip
SIZES = {
    "backbone": {
        "class": "SwinBackbone",
        "arguments": {
            "patch_size": 4, "embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8), "window_size": 3,
            "mlp_ratio": 4.0, "output_norms": False,
        },
    },
    "bert": {"class": "BERT", "arguments": BERT_SIZES},
    "fusion_heads": (1, 1, 1, 1), "decoder_dim": 32,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model() -> LAVT:
    made = redraw_all(models.make("LAVT", SIZES)).eval()
    made.about = {"system": "lavt", "class": "LAVT", "arguments": SIZES, "format": "official"}
    return made


def same_state(a, b) -> None:
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


def write_official(path, model, **changes):
    """A file as the official training saves it: both models, the optimiser, the command line."""
    args = argparse.Namespace(model="lavt", window12=True, mha="", img_size=480, lr=5e-5)
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 5e-5, "params": [0]}]}
    value = {**lavt.split(export(model, "official")), "optimizer": optimizer, "epoch": 39, "args": args}
    torch.save({**value, "lr_scheduler": {"last_epoch": 7}, **changes}, path)
    return path


# ---------------------------------------------------------------- both layouts, there and back


@pytest.mark.parametrize("layout", ["official", "official_one"])
def test_there_and_back(model, layout):
    tensors = export(model, layout)
    again = build(tensors, "lavt", text_heads=1)
    same_state(again, model)
    assert again.about["format"] == layout and again.about["arguments"] == SIZES
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in export(again, layout).items())


def test_one_layout_becomes_the_other(model):
    inside = build(export(model, "official_one"), "lavt", text_heads=1)
    same_state(build(export(inside, "official"), "lavt", text_heads=1), model)


@pytest.mark.parametrize("layout", ["official", "official_one"])
def test_export_writes_exactly_the_official_names(root, layout):
    """Every name, shape and dtype of the released files, so that their own strict loading takes it."""
    folder = root / "tests/golden/lavt/base_keys"
    if layout == "official":
        keys = json.loads((folder / "keys.json").read_text())
        keys += [
            [lavt.BESIDE + name, *rest] for name, *rest in json.loads((folder / "keys.bert_model.json").read_text())
        ]
    else:
        keys = json.loads((folder / "keys.lavt_one.json").read_text())
    empty = {name: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for name, shape, kind in keys}
    exported = export(build(empty, "lavt", text_heads=1), layout)
    found = {name: (list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in exported.items()}
    assert found == {name: (shape, kind) for name, shape, kind in keys}
    if layout == "official":
        parts = lavt.split(exported)
        assert (len(parts["model"]), len(parts["bert_model"])) == (451, 197)


def test_position_indices_are_the_windows_own(model):
    index = export(model, "official")["backbone.layers.2.blocks.1.attn.relative_position_index"]
    assert index.dtype == torch.int64 and index.shape == (9, 9) and index[0, 8] == 0 and index[8, 0] == 24


# ---------------------------------------------------------------- files


def test_an_official_file_whole(model, tmp_path):
    """The second model, the command line and the optimiser beside it; the vocabulary in the same folder."""
    path = write_official(tmp_path / "refcoco.pth", model)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    loaded = load(path, text_heads=1)
    same_state(loaded, model)
    assert loaded.preprocess == SquashPreprocess(480)
    ids, mask = loaded.tokenize(["the small dog", "the star"])
    assert ids.shape == (2, 5) and mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    read = read_tensors(path)
    assert read.extras["args"]["img_size"] == 480 and read.extras["epoch"] == 39


def test_a_lavt_one_file(model, tmp_path):
    tensors = export(model, "official_one")
    torch.save({"model": tensors, "epoch": 1, "args": argparse.Namespace(model="lavt_one")}, tmp_path / "one.pth")
    loaded = load(tmp_path / "one.pth", text_heads=1)
    same_state(loaded, model)
    assert not hasattr(loaded, "tokenize"), "there is no vocabulary on this machine"


def test_heads_of_pwam_are_in_the_command_line(model, tmp_path):
    path = write_official(tmp_path / "a.pth", model, args=argparse.Namespace(mha="1-2-4-4"))
    assert load(path, text_heads=1).about["arguments"]["fusion_heads"] == (1, 2, 4, 4)
    assert load(path, fusion_heads=(1, 1, 2, 2), text_heads=1).about["arguments"]["fusion_heads"] == (1, 1, 2, 2)
    with pytest.raises(UserError, match="mha='one'"):
        load(write_official(tmp_path / "b.pth", model, args=argparse.Namespace(mha="one")))


WRONG = [5, -1, 0, 0.5, True, [], [1], {}, {"a": 1}, 10**30, float("nan"), "1--1", "a", "1-", "²", "1-99999", "1 1"]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("key", ["mha", "img_size", "bert_tokenizer"])
def test_a_command_line_of_wrong_values(key, wrong):
    """Each is one line; the heads of PWAM, the side of the picture and the words are what it says."""
    beside = Settings({"args": {key: wrong}}, "what lies beside")
    if (key, wrong) == ("img_size", 5):
        assert lavt.surroundings({}, "official", beside) == {"preprocess": preprocess_to_dict(SquashPreprocess(5))}
        return
    with pytest.raises(UserError, match=key) as caught:
        lavt.from_config(beside.inside("args"))
        lavt.surroundings({}, "official", beside)
    assert "\n" not in str(caught.value)


def test_a_command_line_that_says_something(model, tmp_path):
    args = argparse.Namespace(img_size=384, mha="", bert_tokenizer="bert-base-uncased", ck_bert="bert-base-uncased")
    loaded = load(write_official(tmp_path / "a.pth", model, args=args), text_heads=1)
    assert loaded.preprocess == SquashPreprocess(384)
    assert loaded.about["arguments"]["fusion_heads"] == (1, 1, 1, 1)
    with pytest.raises(UserError, match="bert_tokenizer in args .* is .bert-base-cased"):
        args.bert_tokenizer = "bert-base-cased"
        load(write_official(tmp_path / "b.pth", model, args=args), text_heads=1)
    with pytest.raises(UserError, match="tells text_heads, and no width of 64 .* tell it .text_heads="):
        load(tmp_path / "a.pth")


def test_the_heads_of_its_bert_are_those_of_bert_base():
    assert lavt.bert.HEADS_OF[768] == 12  # the official code knows no other BERT


def test_a_bert_with_its_pooler(model, tmp_path):
    """Trained on one GPU, BERT keeps its pooler; older ones also a counter. Both are dropped for a reason."""
    parts = lavt.split(export(model, "official"))
    extra = {"pooler.dense.weight": torch.ones(64, 64), "pooler.dense.bias": torch.ones(64)}
    extra["embeddings.position_ids"] = torch.arange(30)[None]
    tensors = lavt.join(parts["model"], {**parts["bert_model"], **extra})
    same_state(build(tensors, "lavt", text_heads=1), model)
    dropped = lavt.FORMATS["official"].table.convert(tensors).dropped
    assert {lavt.BESIDE + name for name in extra} < set(dropped) and "pooler" in dropped["bert_model.pooler.dense.bias"]


def test_our_own_file_keeps_everything(model, tmp_path):
    about = {
        "class": "LAVT",
        "system": "lavt",
        "arguments": SIZES,
        "preprocess": preprocess_to_dict(SquashPreprocess(64)),
    }
    words = {"kind": "wordpiece", "vocabulary": VOCABULARY, "context_length": 20, "keep_end": False}
    models.save(tmp_path / "m.safetensors", model, {**about, "tokenizer": words})
    again = models.open_file(tmp_path / "m.safetensors")
    same_state(again, model)
    image = again.preprocess(Image.new("RGB", (70, 9), "red"))[None].double()
    with torch.no_grad():
        ids, mask = again.tokenize("the red star")
        expected = copy.deepcopy(model).double()(image, ids, mask)  # other tests read the fixture's float32
        assert difference(again.double()(image, ids, mask), expected) <= 1e-10


# ---------------------------------------------------------------- words and pixels


def test_a_long_sentence_is_refused_or_cut_without_its_end(model, tmp_path):
    """As the official data set does: the finished list is cut to 20, so [SEP] goes. Keeping it is another answer."""
    path = write_official(tmp_path / "refcoco.pth", model)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    loaded = load(path, text_heads=1)
    with pytest.raises(UserError, match="takes 502 ids, the limit is 20"):
        loaded.tokenize(["dog " * 500])
    ids, mask = loaded.tokenize(["dog " * 500], truncate=True)
    assert ids.shape == (1, 20) and mask.all() and loaded.tokenize.end not in ids
    with torch.no_grad():
        image = torch.randn(1, 3, 40, 64)
        cut = loaded(image, ids, mask)
        kept = ids.clone()
        kept[0, -1] = loaded.tokenize.end  # the mutant: [SEP] kept
        assert (loaded(image, kept, mask) - cut).abs().max() > 1e-4


@pytest.mark.parametrize("size", [(480, 480), (640, 427), (3, 3), (1, 1), (2000, 33), (479, 1023)])
def test_pixels_equal_torchvision(size):
    from torchvision import transforms

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    theirs = transforms.Compose(
        [transforms.Resize((480, 480)), transforms.ToTensor(), transforms.Normalize(mean=mean, std=std)]
    )
    pixels = np.random.RandomState(size[0]).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    ours = models.preprocess_from_dict(json.loads(json.dumps(preprocess_to_dict(SquashPreprocess(480)))))
    assert torch.equal(ours(Image.fromarray(pixels)), theirs(Image.fromarray(pixels)))


# ---------------------------------------------------------------- wrong files


def test_the_image_side_alone(model, tmp_path):
    parts = lavt.split(export(model, "official"))
    torch.save({"model": parts["model"], "epoch": 1}, tmp_path / "half.pth")
    with pytest.raises(UserError, match="image side alone.*bert_model"):
        load(tmp_path / "half.pth")


def test_a_bert_of_another_width(model):
    other = redraw_all(
        models.make("LAVT", {**SIZES, "bert": {"class": "BERT", "arguments": {**BERT_SIZES, "embed_dim": 32}}})
    )
    other.about = {**model.about}
    parts = lavt.split(export(other, "official"))
    with pytest.raises(UserError, match="wrong shape: .*f_key.*gives .*64.*our fusions.0.key.weight is .*32"):
        build(lavt.join(lavt.split(export(model, "official"))["model"], parts["bert_model"]), "lavt", text_heads=1)


def test_a_bias_table_that_no_window_has(model):
    tensors = export(model, "official")
    name = "backbone.layers.1.blocks.0.attn.relative_position_bias_table"
    tensors[name] = tensors[name][:24]
    with pytest.raises(UserError, match="bias table of stage 2 has 24 rows"):
        build(tensors, "lavt", text_heads=1)


def test_a_damaged_file_is_told_whole(model):
    tensors = export(model, "official")
    del tensors["classifier.bn2_3.running_var"]
    tensors["backbone.layers.0.fusion.surprise"] = torch.zeros(2)
    with pytest.raises(UserError, match="unknown name .*fusion.surprise.*missing: our steps.1.norm2.running_var"):
        build(tensors, "lavt", text_heads=1)


def test_the_catalogue_tells_where_lavt_is():
    for data in ("refcoco", "refcoco+", "gref-umd", "gref-google"):
        for layout, form in (("lavt", "official"), ("lavt_one", "official_one")):
            entry = hub.find(f"{layout}-{data}")
            assert entry.system == "lavt" and entry.format == form and hub.by_hand(entry).name == "lavt"
            assert hub.page(entry).startswith("https://drive.usercontent.google.com/download?")
    assert len({hub.page(entry) for entry in entries() if entry.system == "lavt"}) == 8


def test_the_vocabulary_is_found_where_bert_was_fetched(model, tmp_path):
    folder = hub.by_hand(hub.find(lavt.VOCABULARY))
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    loaded = load(write_official(tmp_path / "refcoco.pth", model), text_heads=1)
    assert loaded.tokenize("the dog")[0].shape == (1, 4) and loaded.tokenize.context_length == 20
