"""timm's config.json of a ResNet: every key at an unusual value beside timm; torchvision's files have none."""

import inspect
import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from checkpoints_convert import build, export
from checkpoints_convert.load import load
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import difference, redraw_all
from checkpoints_convert.tables import SYSTEMS, resnet
from checkpoints_convert.tables.system import detect
from minimodels.errors import UserError
from tests.systems.clip.test_configs import noise_picture

SAME, REFUSED = "the library's answer", "refused"
IMAGE = torch.randn(2, 3, 65, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ARGUMENTS = {
    "num_classes": [(7, SAME), (0, SAME)],
    "in_chans": [(3, SAME), (1, REFUSED)],
    "output_stride": [(32, SAME), (16, REFUSED), (8, REFUSED)],
    "global_pool": [("avg", SAME), ("max", REFUSED), ("avgmax", REFUSED), ("catavgmax", REFUSED)],
    "cardinality": [(1, SAME), (2, REFUSED)],
    "base_width": [(64, SAME), (32, REFUSED)],
    "stem_width": [(32, SAME)],  # of a deep stem alone
    "stem_type": [("", SAME), ("deep", REFUSED), ("deep_tiered", REFUSED)],
    "replace_stem_pool": [(False, SAME), (True, REFUSED)],
    "block_reduce_first": [(1, SAME), (2, REFUSED)],
    "down_kernel_size": [(1, SAME), (3, REFUSED)],
    "avg_down": [(False, SAME), (True, REFUSED)],
    "channels": [([64, 128, 256, 512], SAME)],
    "act_layer": [("relu", SAME), ("silu", REFUSED), ("gelu", REFUSED)],
    "norm_layer": [("batchnorm2d", SAME), ("groupnorm", REFUSED)],
    "aa_layer": [("avg", REFUSED), ("blur", REFUSED)],
    "drop_rate": [(0.4, SAME)],
    "drop_path_rate": [(0.4, SAME)],
    "drop_block_rate": [(0.4, SAME)],
    "zero_init_last": [(False, SAME)],
    "block_args": [({}, SAME), ({"attn_layer": "se"}, REFUSED)],
}
CASES = [pytest.param(k, v, r, id=f"{k}={v}") for k, tried in ARGUMENTS.items() for v, r in tried]


def save(folder, name="resnet18", **arguments):
    """timm's model, shrunk to a block a stage, saved as it is pushed to the hub with its arguments."""
    told = {"layers": [1, 1, 1, 1], **arguments}
    theirs = redraw_all(timm.create_model(name, **told))
    timm.models.save_for_hf(theirs, str(folder), model_args=told, safe_serialization=True)
    return theirs.double()


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    for key, value in values.items():
        place = config["pretrained_cfg"] if key in config["pretrained_cfg"] else config
        place[key] = value
    (folder / "config.json").write_text(json.dumps(config))


def beside_the_library(theirs, folder) -> float:
    with torch.inference_mode():
        return difference(load(folder, dtype=torch.float64)(IMAGE), theirs(IMAGE))


def test_every_argument_of_the_library_is_tried_and_known():
    known = {*inspect.signature(timm.models.resnet.ResNet).parameters} - {"block", "layers", "device", "dtype"}
    assert known == ARGUMENTS.keys() and known <= {*resnet.FIXED, *resnet.HARMLESS}


@pytest.mark.parametrize("key, value, verdict", CASES)
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_each_argument_at_an_unusual_value(name, key, value, verdict, tmp_path):
    if verdict == SAME:
        assert beside_the_library(save(tmp_path, name, **{key: value}), tmp_path) <= 1e-10
        return
    save(tmp_path, name)
    change(tmp_path, model_args={"layers": [1, 1, 1, 1], key: value})
    with pytest.raises(UserError, match=f"^{key} in model_args in config.json is .*, expected") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, feature",
    [
        ("resnetaa50", "architecture"),
        ("resnetblur18", "architecture"),
        ("resnet50_gn", "architecture|running_mean"),
        ("resnext50_32x4d", "architecture"),
        ("resnet50d", "a stem of three convolutions .*, a mean before the shortcut's convolution"),
        ("seresnet18", "attention over channels"),
    ],
)
def test_another_architecture_is_refused(name, feature, tmp_path):
    """Some have a plain one's names and shapes (resnetaa50): only the name in the config tells."""
    save(tmp_path, name)
    with pytest.raises(UserError, match=feature) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_argument_that_nobody_knows(tmp_path):
    save(tmp_path)
    change(tmp_path, model_args={"moon": 1})
    with pytest.raises(UserError, match='"moon" in model_args in config.json is no argument of a ResNet'):
        load(tmp_path)


@pytest.mark.parametrize("told", [{"global_pool": "max"}, {"input_size": [1, 64, 64]}])
def test_other_pooling_or_colours(told, tmp_path):
    save(tmp_path)
    change(tmp_path, **told)
    with pytest.raises(UserError, match=f"^{next(iter(told))} in"):
        load(tmp_path)


def test_a_config_of_other_sizes(tmp_path):
    save(tmp_path)
    change(tmp_path, model_args={})
    with pytest.raises(UserError, match=r"depths is told as \[2, 2, 2, 2\], the shapes say \[1, 1, 1, 1\]"):
        load(tmp_path)
    change(tmp_path, architecture="resnet50", model_args={"layers": [1, 1, 1, 1]})
    with pytest.raises(UserError, match="bottleneck is told as true, the shapes say false"):
        load(tmp_path)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"crop_pct": 0.95, "interpolation": "bicubic"},
        {"input_size": [3, 40, 40], "crop_pct": 1.0},
        {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.6},
        {"test_input_size": [3, 288, 288], "test_crop_pct": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(64, 48), (300, 333)])
def test_pixels(told, size, tmp_path):
    theirs = save(tmp_path)
    change(tmp_path, **told)
    config = timm.data.resolve_data_config(json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"])
    expected = timm.data.create_transform(**config)(noise_picture(*size))
    assert torch.equal(load(tmp_path).preprocess(noise_picture(*size)), expected) and theirs.num_classes


# ---------------------------------------------------------------- torchvision, and weights alone


@pytest.mark.parametrize("size", [(64, 48), (300, 333), (224, 500)])
def test_a_file_of_torchvision(size, tmp_path):
    """No config: that it is a plain one is said, and its pictures are those of torchvision's first weights."""
    from torchvision.models import ResNet18_Weights, resnet18

    theirs = redraw_all(resnet18())
    torch.save(theirs.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    with pytest.warns(UserWarning, match="tells architecture: .* architecture=resnet18 is assumed.*output_stride"):
        ours = load(tmp_path / "resnet18-f37072fd.pth", dtype=torch.float64)
    with torch.inference_mode():
        assert difference(ours(IMAGE), theirs.double()(IMAGE)) <= 1e-10
    picture = noise_picture(*size)
    expected = ResNet18_Weights.IMAGENET1K_V1.transforms()(picture)
    assert (ours.preprocess(picture) - expected).abs().max() <= 1e-6


def test_told_by_hand():
    reference = reference_named("ResNet", "torchvision")
    tensors = redraw_all(reference.build(**reference.tiny)).state_dict()
    assert detect(tensors, SYSTEMS)[0] == "resnet"
    with pytest.warns(UserWarning, match="architecture=a plain ResNet is assumed"):
        build(tensors, "resnet")
    with pytest.raises(UserError, match='architecture "resnet50d": our ResNet is that of resnet18'):
        build(tensors, "resnet", architecture="resnet50d")
    with pytest.raises(UserError, match="depths is told as"):
        build(tensors, "resnet", architecture="resnet50")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_there_and_back(library):
    reference = reference_named("ResNet", library)
    theirs = redraw_all(reference.build(**reference.tiny))
    ours = reference.convert(theirs.state_dict(), reference.tiny)
    tensors = export(ours, library)
    assert tensors.keys() == theirs.state_dict().keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in theirs.state_dict().items())
    reference.build(**reference.tiny).load_state_dict(tensors, strict=True)


def test_damaged_files_are_told_whole(tmp_path):
    save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["layer2.0.bn1.bias"]
    save_file(tensors | {"layer9.0.surprise": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"layer9\.0\.surprise.*missing: our stages\.1\.0\.conv1\.norm\.bias"):
        load(tmp_path)
