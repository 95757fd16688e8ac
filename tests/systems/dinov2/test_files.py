"""DINOv2's files there and back, and the wrong ones."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints_convert import build, export, load
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.tables.dinov2 import SYSTEM
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.stored import models
from tests.benchmarks.pixels import picture
from tests.systems.dinov2.small import KINDS, SMALL, pictures, small


def official_files(kind: str) -> dict[str, torch.Tensor]:
    """What an official file of this kind holds: names and shapes of a golden case, all numbers drawn anew."""
    model = small(**KINDS[kind])
    model.about = {"system": "dinov2", "class": "DINOv2", "arguments": {**SMALL, **KINDS[kind]}}
    return {name: tensor.detach().float() for name, tensor in export(model, "official").items()}


@pytest.mark.parametrize("kind", KINDS)
def test_official_there_and_back(kind):
    tensors = official_files(kind)
    model = build(tensors, "dinov2", num_heads=3)
    assert model.about["format"] == "official"
    again = export(model, "official")
    assert again.keys() == tensors.keys() and "mask_token" in again
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in again.items())


@pytest.mark.parametrize("target", ["timm", "transformers", "transformers_v5"])
@pytest.mark.parametrize("kind", KINDS)
def test_export_loads_strictly_in_the_library(kind, target):
    """timm has no mask token, and with registers no position of the class token: it is added to the token."""
    library = target.partition("_")[0]
    reference = reference_named({"plain": "DINOv2"}.get(kind, f"DINOv2 {kind}"), library)
    numbers = {**SMALL, **KINDS[kind]}
    sizes = {
        "timm": {"img_size": 20, "patch_size": 4, "mlp_dim": numbers["mlp_dim"]},
        "transformers": {"image_size": 20, "patch_size": 4, "mlp_ratio": 2},
    }[library]
    ours = build(official_files(kind), "dinov2", num_heads=3).double()
    tensors = {name: tensor.contiguous() for name, tensor in export(ours, target).items()}
    theirs = reference.build(**{**reference.tiny, **sizes}).double()
    if target == "transformers":  # the hub's spelling goes through the library's own loader
        theirs = reference.open(reference, {n: t.float() for n, t in tensors.items()}, {**reference.tiny, **sizes})
    else:
        theirs.load_state_dict(tensors, strict=True)
    theirs = theirs.double().eval()
    image = pictures(2, 20, 20)
    with torch.no_grad():
        expected = reference.run_reference(theirs, image)
        assert all(difference(found, expected[name]) <= 1e-10 for name, found in reference.run(ours, image).items())
        again = build(tensors, "dinov2", num_heads=3)
        assert again.about["format"] == {"transformers": "transformers_v5"}.get(target, target)
        assert difference(again(image), ours(image)) <= 1e-10
    if target != "timm":
        assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_from_timm_back_to_the_official_names(kind):
    """What timm dropped returns as zeros that change nothing: the mask token, the class token's position."""
    official = official_files(kind)
    ours = build(official, "dinov2", num_heads=3)
    through_timm = build(export(ours, "timm"), "dinov2", num_heads=3)
    again = export(through_timm, "official")
    assert again.keys() == official.keys()
    assert all(tensor.shape == official[name].shape for name, tensor in again.items())
    model, image = build(again, "dinov2", num_heads=3).double(), pictures(2, 12, 24)
    with torch.no_grad():
        assert difference(model(image), ours.double()(image)) <= 1e-6  # one float32 sum apart


def test_load_reads_files_and_their_configs(tmp_path):
    torch.save(official_files("registers"), tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    model = load(tmp_path / "dinov2_vits14_reg4_pretrain.pth", num_heads=3)
    assert model.about["arguments"]["num_registers"] == 4 and model.about["arguments"]["antialias"]
    assert model.preprocess.size == 224 and model.preprocess.crop_pct == 0.875
    reference = reference_named("DINOv2 registers", "transformers")
    theirs = redraw_all(reference.build(**reference.tiny), 0)
    theirs.save_pretrained(tmp_path / "folder")
    model = load(tmp_path / "folder")
    assert model.about["arguments"]["num_heads"] == 3 and model.about["format"] == "transformers"
    image = pictures(1, 42, 42)
    with torch.no_grad():
        assert difference(model.double()(image), theirs.double().eval()(image).pooler_output) <= 1e-10


def test_our_own_file_keeps_everything(tmp_path):
    model = small(**KINDS["registers"]).float()
    about = {"class": "DINOv2", "system": "dinov2", "arguments": {**SMALL, **KINDS["registers"]}}
    about["preprocess"] = preprocess_to_dict(TensorPreprocess(20))
    models.save(tmp_path / "m.safetensors", model, about)
    again = models.open_file(tmp_path / "m.safetensors")
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert difference(again.double()(pictures(1, 8, 12)), model.double()(pictures(1, 8, 12))) <= 1e-10


def test_wrong_files_are_told_whole():
    tensors = official_files("plain")
    tensors["blocks.7.surprise"] = torch.zeros(2)
    del tensors["blocks.1.ls1.gamma"]
    with pytest.raises(UserError, match=r"blocks\.7\.surprise.*missing: our blocks\.1\.scale1"):
        build(tensors, "dinov2", num_heads=3)
    tensors = official_files("plain")
    tensors["pos_embed"] = tensors["pos_embed"][:, :-2]
    with pytest.raises(UserError, match="24 positions are neither a square grid of patches nor one and the class"):
        build(tensors, "dinov2", num_heads=3)


def test_registers_do_not_get_lost():
    """timm gives the class token no position beside registers: without both it would be a model that nobody has."""
    tensors = export(build(official_files("registers"), "dinov2", num_heads=3), "timm")
    del tensors["reg_token"]
    with pytest.raises(UserError, match="25 positions leave none for the class token.*no registers"):
        build(tensors, "dinov2", format="timm", num_heads=3)


def test_a_number_in_the_place_of_a_matrix():
    tensors = export(build(official_files("plain"), "dinov2", num_heads=3), "timm")
    for name in ("blocks.1.mlp.fc1.weight", "blocks.1.mlp.fc2.weight"):
        with pytest.raises(UserError, match=f"{name} gives"):
            build({**tensors, name: torch.tensor(1.0)}, "dinov2", format="timm", num_heads=3)


@pytest.mark.parametrize("size", [(300, 452), (97, 64)])
def test_pixels_equal_the_hub_processors(size):
    """facebook/dinov2-*'s preprocessor_config.json names transformers' BitImageProcessor."""
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    config = {
        "image_processor_type": "BitImageProcessor",
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "resample": 3,
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 0.00392156862745098,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    beside = Settings({"preprocessor_config": config}, "beside")
    ours = models.preprocess_from_dict(SYSTEM.surroundings({}, "transformers", beside)["preprocess"])
    theirs = BitImageProcessorPil(**{key: value for key, value in config.items() if key != "image_processor_type"})
    image = picture("RGB", *size)
    assert torch.equal(ours(image), torch.as_tensor(theirs(image)["pixel_values"][0]))


@pytest.mark.parametrize("told, kept", [(4, False), (0, True)])
def test_registers_that_the_config_and_the_tensors_do_not_both_have(told, kept, tmp_path):
    """Without its registers the model has the names of one that never had any: the config beside knows."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "image_size": 28, "patch_size": 14}
    Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=4)).save_pretrained(tmp_path)
    assert load(tmp_path).about["arguments"]["num_registers"] == 4
    tensors = load_file(tmp_path / "model.safetensors")
    if not kept:
        del tensors["embeddings.register_tokens"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_register_tokens": told}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="num_registers is told as"):
        load(tmp_path)
