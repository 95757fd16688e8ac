"""ResNet: torchvision's and timm's names, which are the same, <-> ours (lesson 3.13).

Both libraries count convolutions and stages from 1. timm's variants with another stem or shortcut ("resnet50d" ...)
have other names and are refused.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import timm
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.clip import conv_norm
from checkpoints_convert.tables.rules import Row, Table
from checkpoints_convert.tables.system import Architecture, Format, System, count_blocks
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD

MOST_STAGES = 8


def rows() -> list[Row]:
    """Every row of both libraries."""
    rows = conv_norm("conv1", "bn1", "stem")
    for stage in range(MOST_STAGES):
        theirs, ours = f"layer{stage + 1}.{{i}}", f"stages.{stage}.{{i}}"
        for number in (1, 2, 3):
            rows += conv_norm(f"{theirs}.conv{number}", f"{theirs}.bn{number}", f"{ours}.conv{number}")
        rows += conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
    return [*rows, ("fc.weight", "head.weight"), ("fc.bias", "head.bias")]


FORMATS = {"torchvision": Format(Table(rows())), "timm": Format(Table(rows()))}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Everything is in the shapes: a third convolution makes a bottleneck."""
    stages = count_blocks(tensors, "stages.")
    return "ResNet", {
        "depths": tuple(count_blocks(tensors, f"stages.{stage}.") for stage in range(stages)),
        "bottleneck": "stages.0.0.conv3.conv.weight" in tensors,
        "width": len(tensors["stem.conv.weight"]),
        "num_classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0,
    }


def from_config(config: Settings) -> dict[str, Any]:
    """timm's config.json of a ResNet: nothing in it changes the model, and another architecture is no ResNet of ours.

    Raises:
        UserError: an architecture, a pooling or arguments that our ResNet does not have.
    """
    name = timm.architecture_name(config)
    if name and not re.fullmatch(r"(tv_)?resnet(18|34|50|101|152)", name):
        raise UserError(f"architecture {name}: our ResNet is that of resnet18, 34, 50, 101 and 152, the plain ones")
    config.expect("global_pool", "avg", why="our ResNet pools the mean")
    for key in config.inside("model_args"):
        if key not in ("num_classes", "global_pool"):
            raise UserError(f"{key} in model_args of {config.where}: our ResNet is the plain one")
    return {}


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """The preprocessing: as timm's config says, else torchvision's first one: 256, then the middle 224, bilinear."""
    usual = {"crop_pct": 0.875, "interpolation": "bilinear", "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return timm.preprocess(beside.inside("config"), (224, 224), usual)


SYSTEM = System("resnet", FORMATS, architecture, {}, from_config, surroundings)


# ---------------------------------------------------------------- the official checkpoints

PARAMETERS = {18: 11_699_132, 34: 21_814_696, 50: 25_610_152, 101: 44_654_504}  # numbers, running statistics included


def _torchvision(depth: int, sha256: str) -> Entry:
    """One of torchvision's first weights ("IMAGENET1K_V1"); the file's name ends in the start of its sha256."""
    file = f"resnet{depth}-{sha256}.pth"
    return Entry(
        name=f"resnet{depth}",
        system="resnet",
        format="torchvision",
        licence="BSD-3-Clause",
        files=(File(file, about=4 * PARAMETERS[depth]),),
        note=f"ResNet-{depth}, 1000 ImageNet classes, torchvision's first weights",
        url=f"https://download.pytorch.org/models/{file}",
    )


def _timm(depth: int, recipe: str) -> Entry:
    """timm's own weights: Wightman et al. 2021, "ResNet strikes back"."""
    repo = f"timm/resnet{depth}.{recipe}_in1k"
    files = (File("model.safetensors", about=4 * PARAMETERS[depth]), File("config.json"))
    return Entry(
        name=repo,
        system="resnet",
        format="timm",
        licence="Apache-2.0",
        files=files,
        repo=repo,
        note=f"ResNet-{depth}, 1000 ImageNet classes",
    )


ENTRIES: tuple[Entry, ...] = (
    _torchvision(18, "f37072fd"),
    _torchvision(34, "b627a593"),
    _torchvision(50, "0676ba61"),
    _torchvision(101, "63fe2227"),
    _timm(18, "a1"),
    _timm(34, "a1"),
    _timm(50, "a1"),
    _timm(101, "a1h"),
)
