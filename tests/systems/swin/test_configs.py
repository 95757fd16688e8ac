"""Configs beside a Swin's or a DINOv2's weights: each key that changes an answer is obeyed, or refused by its name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints_convert import load
from checkpoints_convert.proof.verify import difference, redraw_all
from minimodels.errors import UserError
from tests.systems.vit.test_configs import change

SWIN = {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 3), "window_size": 4, "patch_size": 2}
DINO = {"hidden_size": 48, "num_hidden_layers": 2, "image_size": 28, "patch_size": 7}


def swin_of_transformers(folder: Path, **changes: Any) -> torch.nn.Module:
    from transformers import SwinConfig, SwinForImageClassification

    model = redraw_all(SwinForImageClassification(SwinConfig(**{**SWIN, "image_size": 32, "num_labels": 5, **changes})))
    model.save_pretrained(folder)
    return model.double()


def dinov2_of_transformers(folder: Path, **changes: Any) -> torch.nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    model = redraw_all(Dinov2Model(Dinov2Config(**{**DINO, **changes})))
    model.save_pretrained(folder)
    return model.double()


def swin_of_timm(folder: Path, **changes: Any) -> torch.nn.Module:
    import timm

    sizes = {**SWIN, "img_size": 32, **changes}
    model = redraw_all(timm.create_model("swin_tiny_patch4_window7_224", **sizes))
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return model.double()


def compare(folder: Path, theirs: torch.nn.Module, size: tuple[int, int], taken: Any = lambda answer: answer) -> None:
    ours, image = load(folder, dtype=torch.float64), torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert difference(ours(image), taken(theirs(image))) <= 1e-10


@pytest.mark.parametrize("changes", [{}, {"image_size": 48}, {"mlp_ratio": 1.5}, {"num_heads": (1, 6)}], ids=str)
def test_swin_of_transformers(changes, tmp_path):
    side = changes.get("image_size", 32)
    compare(tmp_path, swin_of_transformers(tmp_path, **changes), (side, side), lambda answer: answer.logits)


@pytest.mark.parametrize("heads", [3, 12, 48])
def test_dinov2_of_transformers(heads, tmp_path):
    theirs = dinov2_of_transformers(tmp_path, num_attention_heads=heads)
    compare(tmp_path, theirs, (28, 28), lambda answer: answer.pooler_output)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"img_size": (32, 16)},
        {"img_size": (16, 32)},
        {"img_size": (20, 44)},
        {"num_classes": 0},
        {"mlp_ratio": 1.5},
    ],
    ids=str,
)
def test_swin_of_timm(changes, tmp_path):
    theirs = swin_of_timm(tmp_path, **changes)
    compare(tmp_path, theirs, theirs.patch_embed.img_size)


REFUSED = [
    (swin_of_transformers, ("hidden_act",), "relu", 'hidden_act in config.json is "relu"'),
    (swin_of_transformers, ("layer_norm_eps",), 1e-6, "layer_norm_eps in config.json is 1e-06, expected 1e-05"),
    (swin_of_transformers, ("model_type",), "swinv2", 'model_type in config.json is "swinv2", expected "swin"'),
    (swin_of_transformers, ("use_absolute_embeddings",), True, "use_absolute_embeddings in config.json is true"),
    (swin_of_transformers, ("image_size",), "big", "image_size in config.json is"),
    (swin_of_transformers, ("image_size",), [0, 32], "image_size in config.json is"),
    (swin_of_transformers, ("image_size",), 8, "tell the size that it was trained for"),
    (dinov2_of_transformers, ("hidden_act",), "silu", 'hidden_act in config.json is "silu"'),
    (dinov2_of_transformers, ("layer_norm_eps",), 1e-12, "layer_norm_eps in config.json is 1e-12, expected 1e-06"),
    (dinov2_of_transformers, ("model_type",), "vit", 'model_type in config.json is "vit", expected "dinov2"'),
    (dinov2_of_transformers, ("num_attention_heads",), 0, "num_attention_heads in config.json is 0"),
    (swin_of_timm, ("model_args", "always_partition"), True, "always_partition in model_args in config.json is true"),
    (swin_of_timm, ("model_args", "norm_layer"), "rmsnorm", "norm_layer in model_args"),
    (swin_of_timm, ("model_args", "img_size"), 31, "no multiple of the patch"),
    (swin_of_timm, ("model_args", "window_size"), 3, "the bias tables are made for"),
    (swin_of_timm, ("model_args", "global_pool"), "max", 'global_pool in model_args in config.json is "max"'),
    (swin_of_timm, ("pretrained_cfg", "input_size"), [4, 32, 32], "4 colours, expected 3"),
    (swin_of_timm, ("model_args", "img_size"), [32], "img_size in model_args in config.json is"),
]


@pytest.mark.parametrize(
    "make, path, value, told", REFUSED, ids=lambda value: getattr(value, "__name__", str(value)[:40])
)
def test_keys_that_are_refused(make, path, value, told, tmp_path):
    make(tmp_path)
    change(tmp_path, *path, value=value)
    with pytest.raises(UserError, match=told) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_keys_have_the_librarys_defaults(tmp_path):
    """transformers writes what differs: no image_size is 224 pixels, and heads are 12."""
    swin_of_transformers(tmp_path / "swin")
    change(tmp_path / "swin", "image_size", value=None)
    assert load(tmp_path / "swin").about["arguments"]["image_size"] == (224, 224)
    dinov2_of_transformers(tmp_path / "dino", num_attention_heads=3)
    change(tmp_path / "dino", "num_attention_heads", value=None)
    assert load(tmp_path / "dino").about["arguments"]["num_heads"] == 12
