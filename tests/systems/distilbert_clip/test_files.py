"""best.pt with what may lie beside it; and two official files that become one model."""

import json

import pytest
import torch
from PIL import Image

from checkpoints_convert import __main__ as command
from checkpoints_convert import build, export
from checkpoints_convert.joining import join_encoders
from checkpoints_convert.load import load
from checkpoints_convert.proof.references.distilbert_clip import TINY_BERT, TINY_VIT
from checkpoints_convert.proof.suite import reference_named, tiny, twins
from checkpoints_convert.proof.verify import redraw_all
from minimodels.errors import UserError
from minimodels.stored import models
from minimodels.words.word_piece import SPECIALS

VIT = reference_named("Projected CLIP, ViT", "OpenAI-CLIP")
RESNET = reference_named("Projected CLIP, ResNet", "OpenAI-CLIP")
WORDS = [*SPECIALS, *(f"w{number}" for number in range(TINY_BERT["vocab_size"] - len(SPECIALS) - 3)), "a", "cat", "##s"]
TOLD = {"text_heads": 3, "vision_heads": 3, "temperature": 1.0}


def write_best(folder, reference=VIT, vocabulary=WORDS, **changes):
    """best.pt of a reference's tiny model, redrawn; gives that model."""
    theirs = redraw_all(reference.build(**tiny(reference, **changes))).float()
    torch.save(theirs.state_dict(), folder / "best.pt")
    if vocabulary:
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return theirs.eval()


def write_config(folder, config):
    """Beside weights under a name of the libraries', for beside another name no config is read."""
    write_best(folder)
    (folder / "best.pt").rename(folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("reference", [VIT, RESNET], ids=["ViT", "ResNet"])
def test_best_pt_in_a_folder(reference, tmp_path):
    from transformers import BertTokenizer

    theirs = write_best(tmp_path, reference)
    told = {key: value for key, value in TOLD.items() if reference is VIT or key != "vision_heads"}
    ours = load(tmp_path / "best.pt", dtype=torch.float64, **told)
    texts = ["A cats w7", "w1 &amp; [SEP] caf\u00e9", ""]
    their_ids = BertTokenizer(vocab=str(tmp_path / "vocab.txt"))(texts, padding=True, return_tensors="pt")
    ids = ours.tokenize(texts)
    assert torch.equal(ours.trim(ids), their_ids["input_ids"])
    pixels = ours.preprocess(Image.new("RGB", (50, 30), (200, 20, 90)))
    size = 32 if reference is VIT else 224
    assert pixels.shape == (3, size, size)
    with torch.no_grad():
        image, text = theirs.double().embed(pixels[None].double(), ids)
        assert (ours.encode_image(pixels[None].double()) - image).abs().max() < 1e-10
        assert (ours.encode_text(ours.trim(ids)) - text).abs().max() < 1e-10


def test_a_vocabulary_of_the_wrong_size(tmp_path, capsys):
    write_best(tmp_path, vocabulary=[*WORDS, "dog"])
    tell = [part for key, value in TOLD.items() for part in ("--tell", f"{key}={value}")]
    assert command.main(["convert", str(tmp_path / "best.pt"), str(tmp_path / "ours.safetensors"), *tell]) == 2
    told = capsys.readouterr().err
    assert "51 pieces" in told and "rows for 50" in told and told.startswith("error: ") and told.count("\n") == 1
    assert not (tmp_path / "ours.safetensors").exists()
    write_best(tmp_path, vocabulary=WORDS[:-1])
    with pytest.raises(UserError, match="49 pieces"):
        load(tmp_path / "best.pt", **TOLD)


def test_without_words_there_is_no_tokenizer(tmp_path):
    write_best(tmp_path, vocabulary=None)
    assert not hasattr(load(tmp_path / "best.pt", **TOLD), "tokenize")


def test_oblong_pictures_have_no_preprocessing(tmp_path):
    """The official code squashes to a square."""
    write_best(tmp_path, vit={**TINY_VIT, "img_size": (16, 40)})
    assert not hasattr(load(tmp_path / "best.pt", image_size=(16, 40), **TOLD), "preprocess")


@pytest.mark.parametrize(
    "config, words",
    [
        ({"model_type": "bert"}, "model_type"),
        ({"architecture": "vit_base_patch16_224", "num_classes": 0}, "timm"),
        ({"model_type": "distilbert", **TINY_BERT, "dim": 32}, "embed_dim"),
        ({"model_type": "distilbert", "activation": "relu"}, "activation"),
        ({"model_type": "distilbert", **TINY_BERT, "n_heads": 5}, "split into 5 heads"),
    ],
)
def test_configs_of_other_models(config, words, tmp_path):
    write_config(tmp_path, config)
    with pytest.raises(UserError, match=words):
        load(tmp_path, vision_heads=3, temperature=1.0)


def test_a_config_of_the_text_encoder_tells_its_heads(tmp_path):
    write_config(tmp_path, {"model_type": "distilbert", **TINY_BERT})
    ours = load(tmp_path, vision_heads=3, temperature=1.0)
    assert ours.about["arguments"]["text_encoder"]["arguments"]["num_heads"] == TINY_BERT["n_heads"]


def test_what_nothing_tells_is_said():
    tensors = redraw_all(VIT.build(**tiny(VIT))).state_dict()
    with pytest.warns(UserWarning, match="temperature=1.0"):
        model = build(tensors, "distilbert_clip", vision_heads=3, text_heads=3)
    assert model.temperature == 1.0
    for key in ("text_heads", "vision_heads"):  # no released encoder is 24 wide
        with pytest.raises(UserError, match=rf"tell it \({key}="):
            build(tensors, "distilbert_clip", **{name: value for name, value in TOLD.items() if name != key})
    token = redraw_all(VIT.build(**tiny(VIT, vit={**TINY_VIT, "global_pool": "token"}))).state_dict()
    with pytest.warns(UserWarning, match="mean_pool=False"):
        build(token, "distilbert_clip", **TOLD)
    for wrong in (0, -1.0, float("nan"), "warm", True):
        with pytest.raises(UserError, match="temperature"):
            build(tensors, "distilbert_clip", **{**TOLD, "temperature": wrong})


def test_damaged_files_are_told_whole():
    tensors = dict(redraw_all(RESNET.build(**tiny(RESNET))).state_dict())
    del tensors["text_projection.fc.bias"]
    tensors["image_projection.surprise"] = torch.zeros(2)
    with pytest.raises(UserError, match="unknown name in the checkpoint: image_projection.surprise.*missing: our text"):
        build(tensors, "distilbert_clip", text_heads=3, temperature=1.0)
    half = {name: tensor for name, tensor in tensors.items() if not name.startswith("text_encoder")}
    with pytest.raises(UserError):
        build(half, "distilbert_clip", text_heads=3, temperature=1.0)


def test_a_class_token_has_no_official_name():
    pair = twins(VIT, tiny(VIT, vit={**TINY_VIT, "global_pool": "token"}))
    with pytest.raises(UserError, match="cannot hold this ProjectedCLIP"):
        export(pair.ours, "OpenAI-CLIP")


# ---------------------------------------------------------------- two files, one model


def encoders(folder, image="vit"):
    """A timm file and a DistilBERT folder as `save_pretrained` writes it; the paths of both, and the timm model."""
    from checkpoints_convert.proof.references.bert import build_distilbert
    from checkpoints_convert.reading.files import write_tensors

    seen = reference_named("ViT" if image == "vit" else "ResNet", "timm")
    theirs = redraw_all(seen.build(**seen.tiny)).float().eval()
    write_tensors(folder / "image.safetensors", dict(theirs.state_dict()))
    words = folder / "words"
    redraw_all(build_distilbert(**TINY_BERT)).float().save_pretrained(words)
    (words / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder / "image.safetensors", words, theirs


@pytest.mark.parametrize("image", ["resnet", "vit"])
def test_two_official_files_become_one_model(image, tmp_path):
    file, words, theirs = encoders(tmp_path, image)
    if image == "vit":
        with pytest.raises(UserError, match="tell it"):
            join_encoders(file, words)  # nothing beside the weights tells the heads of so narrow a ViT
        return
    model = join_encoders(file, words, embed_dim=12, temperature=0.5, seed=3)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = theirs.forward_head(theirs.forward_features(pixels), pre_logits=True)
        torch.testing.assert_close(model.image_tower.encoder(pixels), features, atol=1e-5, rtol=1e-5)
        before = model(pixels, model.tokenize(["a cat", "cats"]))
    assert model.image_tower.proj.norm.weight.shape == (12,) and model.temperature == 0.5
    again = join_encoders(file, words, embed_dim=12, temperature=0.5, seed=3).state_dict()
    other = join_encoders(file, words, embed_dim=12, temperature=0.5, seed=4).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    assert not torch.equal(other["text_tower.proj.fc1.weight"], again["text_tower.proj.fc1.weight"])
    assert torch.equal(
        other["text_tower.encoder.token_embedding.weight"], again["text_tower.encoder.token_embedding.weight"]
    )
    models.save(tmp_path / "whole.safetensors", model, model.about)
    opened = models.open_file(tmp_path / "whole.safetensors")
    with torch.no_grad():
        assert torch.equal(opened(pixels, opened.tokenize(["a cat", "cats"])), before)
    assert (
        export(opened, "OpenAI-CLIP").keys() == RESNET.build(**RESNET.sizes(arguments_of(opened))).state_dict().keys()
    )


def arguments_of(model):
    from checkpoints_convert.exporting import whole_arguments

    return whole_arguments(model.about["class"], model.about["arguments"])


def test_a_ready_vit_of_the_book(tmp_path):
    """tiny-vit names its heads; its classifier is left out."""
    import minimodels

    _, words, _ = encoders(tmp_path)
    model, ready = join_encoders("tiny-vit", words), minimodels.load("tiny-vit")
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.image_tower.encoder(pixels), ready.encode(pixels)[:, 0])
    assert model.preprocess == ready.preprocess


def test_encoders_of_another_kind(tmp_path):
    _, words, _ = encoders(tmp_path)
    with pytest.raises(UserError, match="tiny-clip is a CLIP, expected an image encoder"):
        join_encoders("tiny-clip", words)
    with pytest.raises(UserError, match="tiny-vit is a ViT, expected a text encoder"):
        join_encoders("tiny-vit", "tiny-vit")
