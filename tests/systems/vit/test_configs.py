"""Configs beside a ViT's weights: each key that changes an answer is obeyed, or refused in a line that names it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints_convert import build, load
from checkpoints_convert.proof.verify import difference, redraw_all
from minimodels.errors import UserError

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 40, "image_size": 32, "patch_size": 8}
IMAGE = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def of_transformers(folder: Path, **changes: Any) -> torch.nn.Module:
    """transformers' classifier, redrawn and saved by itself: its config holds what differs from the defaults alone."""
    from transformers import ViTConfig, ViTForImageClassification

    model = redraw_all(ViTForImageClassification(ViTConfig(**{**SIZES, "num_labels": 5, **changes})))
    model.save_pretrained(folder)
    return model.double()


def of_timm(folder: Path, **changes: Any) -> torch.nn.Module:
    """timm's, saved as it is pushed to the hub."""
    import timm

    model = redraw_all(timm.create_model("vit_tiny_patch16_224", **{"img_size": 32, "depth": 2, **changes}))
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return model.double()


def change(folder: Path, *path: str, value: Any) -> None:
    """Another value in config.json; with None the key is gone."""
    config = json.loads((folder / "config.json").read_text())
    place = config
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = value
    if value is None:
        del place[path[-1]]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 3},
        {"num_attention_heads": 12},  # the default: the config does not say it
        {"num_attention_heads": 48},
        {"layer_norm_eps": 0.1},
        {"image_size": (16, 64)},
        {"qkv_bias": False},
    ],
    ids=str,
)
def test_transformers_keys_are_obeyed(changes, tmp_path):
    theirs = of_transformers(tmp_path, **changes)
    ours = load(tmp_path, dtype=torch.float64)
    image = IMAGE if "image_size" not in changes else IMAGE.reshape(2, 3, 16, 64)
    with torch.no_grad():
        assert difference(ours(image), theirs(image).logits) <= 1e-10


def test_heads_that_the_config_does_not_say_are_the_librarys_default(tmp_path):
    theirs = of_transformers(tmp_path, num_attention_heads=12)
    change(tmp_path, "num_attention_heads", value=None)
    with torch.no_grad():
        assert difference(load(tmp_path, dtype=torch.float64)(IMAGE), theirs(IMAGE).logits) <= 1e-10


@pytest.mark.parametrize(
    "key, value, told",
    [
        ("hidden_act", "relu", 'hidden_act in config.json is "relu", expected "gelu"'),
        ("hidden_act", "gelu_new", "expected"),
        ("model_type", "vit_msn", 'model_type in config.json is "vit_msn", expected "vit"'),
        ("num_attention_heads", -1, "num_attention_heads in config.json is -1"),
        ("num_attention_heads", 7, "cannot be split into 7 heads"),
        ("layer_norm_eps", float("nan"), "layer_norm_eps in config.json is"),
        ("image_size", 64, "64 patches of 8, and the checkpoint 16 positions"),
        ("image_size", None, "224 x 224 pixels has 784 patches"),  # the default of a config that does not say it
        ("image_size", "x", "image_size in config.json is"),
    ],
)
def test_transformers_keys_that_are_refused(key, value, told, tmp_path):
    of_transformers(tmp_path, num_attention_heads=3)
    change(tmp_path, key, value=value)
    with pytest.raises(UserError, match=told) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_heads": 1},
        {"num_heads": 6},
        {"global_pool": "avg"},
        {"global_pool": "avg", "fc_norm": False},
        {"global_pool": "avg", "class_token": False},
        {"class_token": False, "global_pool": "avg", "fc_norm": False},
        {"no_embed_class": True},
        {"qkv_bias": False},
        {"num_classes": 0},
        {"img_size": (32, 64)},
        {"mlp_ratio": 1.5},
        {"drop_rate": 0.1, "dynamic_img_size": True},
    ],
    ids=str,
)
def test_timm_arguments_are_obeyed(changes, tmp_path):
    theirs = of_timm(tmp_path, **changes)
    ours = load(tmp_path, dtype=torch.float64)
    image = torch.randn(2, 3, *theirs.patch_embed.img_size, dtype=torch.float64)
    with torch.no_grad():
        assert difference(ours(image), theirs(image)) <= 1e-10
    assert hasattr(ours, "preprocess") == ("img_size" not in changes)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"act_layer": "relu"}, 'act_layer in model_args in config.json is "relu", expected "gelu"'),
        ({"norm_layer": "layernorm2d"}, "norm_layer in model_args"),
        ({"global_pool": "max"}, 'global_pool in model_args in config.json is "max", expected "token" or "avg"'),
        ({"global_pool": "avgmax"}, "global_pool"),
        ({"pool_include_prefix": True, "global_pool": "avg"}, "pool_include_prefix in model_args"),
        ({"reg_tokens": 2}, r"registers \(reg_token\)"),
        ({"init_values": 0.1}, r"a head of class scores \(head.bias\)"),  # but for it, a DINOv2
        ({"init_values": 0.1, "class_token": False, "global_pool": "avg"}, "global_pool|LayerScale"),
        ({"qk_norm": True}, r"norms of q and k \(blocks.0.attn.k_norm.bias\)"),
        ({"pre_norm": True}, r"a norm before the blocks \(norm_pre.bias\)"),
        ({"final_norm": False}, "no norm behind the last block"),
        ({"in_chans": 1}, "in_chans in model_args in config.json is 1"),
        ({"pos_embed": "none"}, "no positions"),
    ],
    ids=str,
)
def test_timm_arguments_that_are_refused(changes, told, tmp_path):
    change_after = {key: changes[key] for key in ("act_layer", "norm_layer") if key in changes}
    of_timm(tmp_path, **{key: value for key, value in changes.items() if key not in change_after})
    for key, value in change_after.items():
        change(tmp_path, "model_args", key, value=value)
    with pytest.raises(UserError, match=told) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path, value, told",
    [
        (("architecture",), 5, "architecture in config.json is 5, expected a text"),
        (("architecture",), "vit_base_patch16_rpn_224", "res-post-norm"),
        (("architecture",), "vit_so400m_patch16_siglip_gap_256", "tanh GELU"),
        (("architecture",), "deit_tiny_distilled_patch16_224", "a distilled DeiT is another model"),
        (("pretrained_cfg",), 5, "pretrained_cfg in config.json is 5, expected a JSON object"),
        (("model_args",), [1], "model_args in config.json is"),
        (("model_args", "num_heads"), "3", "num_heads in model_args in config.json"),
        (("model_args", "img_size"), -1, "img_size in model_args"),
        (("model_args", "new_trick"), 1, "new_trick in model_args in config.json is no argument of a ViT that we know"),
        (("pretrained_cfg", "crop_mode"), "squash", 'crop_mode .* is "squash", expected "center"'),
        (("pretrained_cfg", "crop_pct"), 0, "crop_pct .* is 0"),
        (("pretrained_cfg", "interpolation"), "random", "interpolation"),
        (("pretrained_cfg", "mean"), [0.5], "mean .* expected a list of 3 numbers"),
        (("pretrained_cfg", "std"), [0.5, 0, 0.5], "std .* is 0"),
        (("pretrained_cfg", "input_size"), [1, 32, 32], "1 colours, expected 3"),
    ],
    ids=str,
)
def test_timm_values_that_are_refused(path, value, told, tmp_path):
    of_timm(tmp_path)
    change(tmp_path, *path, value=value)
    with pytest.raises(UserError, match=told) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gone", [(), ("mean", "std"), ("crop_pct", "interpolation", "crop_mode")])
def test_pictures_as_timm_prepares_them(gone, tmp_path):
    """Keys that a config lacks have timm's own defaults, not those of the released ViTs."""
    from timm.data import create_transform, resolve_data_config

    from tests.systems.swin.test_files import noise

    of_timm(tmp_path)
    unusual = {"mean": [0.1, 0.2, 0.3], "std": [0.6, 0.7, 0.8], "crop_pct": 0.7, "interpolation": "bilinear"}
    for key, value in unusual.items():
        change(tmp_path, "pretrained_cfg", key, value=value)
    for key in gone:
        change(tmp_path, "pretrained_cfg", key, value=None)
    cfg = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    theirs = create_transform(**resolve_data_config(pretrained_cfg=cfg))
    assert torch.equal(load(tmp_path).preprocess(noise(50, 41)), theirs(noise(50, 41)))


def test_older_configs_of_timm_are_flat(tmp_path):
    theirs = of_timm(tmp_path, global_pool="avg")
    config = json.loads((tmp_path / "config.json").read_text())
    flat = {"architecture": config["architecture"], **config["pretrained_cfg"], "global_pool": "avg"}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    with torch.no_grad():
        assert difference(load(tmp_path, dtype=torch.float64)(IMAGE), theirs(IMAGE)) <= 1e-10


def test_heads_that_nothing_tells(tmp_path):
    """Said aloud where the released models of that width agree; refused where there is none."""
    of_timm(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match="nothing beside these weights tells num_heads.* num_heads=3 is assumed"):
        assert build(tensors, "vit").about["arguments"]["num_heads"] == 3
    of_transformers(tmp_path / "other", num_attention_heads=3)
    tensors = load_file(tmp_path / "other" / "model.safetensors")
    with pytest.raises(UserError, match=r"tells num_heads, and no width of 48 .*num_heads=\.\.\."):
        build(tensors, "vit")
    assert build(tensors, "vit", num_heads=3).about["arguments"]["num_heads"] == 3


def test_the_name_decides_where_released_models_differ(tmp_path):
    import timm

    for name, heads in (("vit_base_patch16_gap_224", 16), ("vit_base_patch16_224", 12)):
        model = timm.create_model(name, depth=1, img_size=32)
        timm.models.save_for_hf(model, str(tmp_path / name), safe_serialization=True)
        assert load(tmp_path / name).about["arguments"]["num_heads"] == heads == model.blocks[0].attn.num_heads
    assert load(tmp_path / name, num_heads=8).about["arguments"]["num_heads"] == 8  # what is told wins


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.model.", "student.backbone."])
def test_what_training_put_before_every_name(prefix, tmp_path):
    theirs = of_timm(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({prefix + name: tensor for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match=f"every name begins with '{prefix}'"), torch.no_grad():
        ours = load(tmp_path, dtype=torch.float64)
        assert difference(ours(IMAGE), theirs(IMAGE)) <= 1e-10
        built = build({prefix + name: tensor for name, tensor in tensors.items()}, "vit")
    assert built.state_dict().keys() == ours.state_dict().keys()
    with pytest.raises(UserError, match="belong to no model we know"):  # one name stands apart: that is no prefix
        build({prefix + name: tensor for name, tensor in tensors.items()} | {"epoch": torch.ones(1)}, "vit")


def test_a_distilled_deit_is_another_model():
    import timm

    tensors = timm.create_model("deit_tiny_distilled_patch16_224", depth=1).state_dict()
    with pytest.raises(UserError, match=r"another model .*a distillation token, as a distilled DeiT \(dist_token\)"):
        build(tensors, "vit")


@pytest.mark.parametrize("shape", [(12, 8, 8), (1, 16, 48), (3, 8, 32)])
def test_kernels_that_are_no_square_of_three_colours(shape, tmp_path):
    """12 colours of 8 x 8 are as many numbers as 3 of 16 x 16."""
    of_timm(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["patch_embed.proj.weight"] = torch.zeros(192, *shape)
    with pytest.raises(UserError, match="expected .channels, 3 colours, p, p."):
        build(tensors, "vit", num_heads=3)
