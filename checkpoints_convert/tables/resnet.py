"""ResNet: torchvision's and timm's names, which are the same, <-> ours (lesson 3.13).

Both libraries count convolutions and stages from 1. timm's variants with another stem, shortcut or pooling have other
names, or the same: then the architecture's name in config.json refuses them.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import timm
from checkpoints_convert.tables.assumed import check_sizes, say_assumed
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.clip import conv_norm
from checkpoints_convert.tables.rules import Row, Table
from checkpoints_convert.tables.system import Architecture, Check, Format, System, count_blocks
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, shown, text, wholes
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


def sizes(arguments: Mapping[str, Any]) -> str:
    """What its library is told to build it."""
    return f"{'Bottleneck' if arguments['bottleneck'] else 'BasicBlock'} and layers {list(arguments['depths'])}"


def torchvision_class(arguments: Mapping[str, Any]) -> str:
    """Four stages of 64, 128, 256 and 512 channels, and always a head."""
    taken = arguments["width"] == 64 and len(arguments["depths"]) == 4 and arguments["num_classes"]
    return f"torchvision.models.resnet.ResNet, built with {sizes(arguments)}" if taken else ""


def timm_class(arguments: Mapping[str, Any]) -> str:
    """The stem has 64 channels, the stages any number."""
    return f"timm.models.resnet.ResNet, built with {sizes(arguments)}" if arguments["width"] == 64 else ""


FORMATS = {
    "torchvision": Format(Table(rows()), takes=torchvision_class),
    "timm": Format(Table(rows()), takes=timm_class),
}
# The plain ones by timm's names: blocks in each stage, whether they are bottlenecks. Others of timm's ("resnet50d",
# "resnetaa50") have another stem, shortcut or norm, some of them with the same names and shapes.
PLAIN = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet26": ((2, 2, 2, 2), True),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
    "resnet200": ((3, 24, 36, 3), True),
}
FEATURES = {
    r"\.se\.|\.eca\.|\.conv_reduce|attn_layer": "attention over channels (squeeze and excitation)",
    r"^conv1\.[0-9]+\.": "a stem of three convolutions",
    r"^maxpool\.": "a convolution in the place of the stem's pooling",
    r"downsample\.2\.": "a mean before the shortcut's convolution",
}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes: a third convolution makes a bottleneck. That it is a plain one is told, or assumed aloud.

    Raises:
        UserError: the name of another architecture, or one whose sizes these are not.
    """
    stages = count_blocks(tensors, "stages.")
    arguments = {
        "depths": tuple(count_blocks(tensors, f"stages.{stage}.") for stage in range(stages)),
        "bottleneck": "stages.0.0.conv3.conv.weight" in tensors,
        "width": len(tensors["stem.conv.weight"]),
        "num_classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0,
    }
    if "architecture" not in told:
        kinds = (name for name, sizes in PLAIN.items() if sizes == (arguments["depths"], arguments["bottleneck"]))
        say_assumed({"architecture": next(kinds, "a plain ResNet")}, ASSUMED)
    elif (name := told["architecture"].removeprefix("tv_")) not in PLAIN:
        raise UserError(f"architecture {shown(name)}: our ResNet is that of {', '.join(PLAIN)}, the plain ones")
    else:
        depths, bottleneck = PLAIN[name]
        check_sizes(arguments, {"depths": depths, "bottleneck": bottleneck, **told}, ["depths", "bottleneck"])
    return "ResNet", arguments


ASSUMED = "Other ResNets (output_stride, act_layer, resnetaa50 ...) may have the same tensors and are not ours"


def from_config(config: Settings) -> dict[str, Any]:
    """timm's config.json of a ResNet.

    Raises:
        UserError: a pooling or arguments that our ResNet does not have.
    """
    name = timm.architecture_name(config)
    if not name:
        return {}  # somebody else's
    arguments = config.inside("model_args")
    for key in arguments:
        if key in FIXED:
            arguments.expect(key, *FIXED[key], why="our ResNet is not built otherwise")
        elif key not in (*HARMLESS, "layers"):
            raise UserError(f"{shown(key)} in {arguments.where} is no argument of a ResNet that we know")
    for place in (arguments, timm.pretrained_cfg(config), config):
        place.expect("global_pool", "avg", why="our ResNet pools the mean")
    timm.input_size(config)  # three colours
    depths = arguments.wholes("layers", None)
    return {"architecture": name} | ({} if depths is None else {"depths": depths})


FIXED: dict[str, tuple[Any, ...]] = {  # arguments that change answers: what ours has
    "in_chans": (3,),
    "output_stride": (32,),
    "cardinality": (1,),
    "base_width": (64,),
    "stem_type": ("",),
    "replace_stem_pool": (False,),
    "block_reduce_first": (1,),
    "down_kernel_size": (1,),
    "avg_down": (False,),
    "act_layer": ("relu",),
    "norm_layer": ("batchnorm2d",),
    "aa_layer": (),
    "block_args": ({},),
}
# Arguments that the tensors repeat, that are read elsewhere, that a plain stem does not have, or of training alone.
HARMLESS = (
    "num_classes global_pool channels stem_width drop_rate drop_path_rate drop_block_rate zero_init_last "
    "pretrained_strict"
).split()


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """The preprocessing: as timm's config says, else torchvision's first one: 256, then the middle 224, bilinear."""
    usual = {"crop_pct": 0.875, "interpolation": "bilinear", "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return timm.preprocess(beside.inside("config"), (224, 224), usual)


TOLD: dict[str, Check] = {"architecture": text, "depths": wholes}
SYSTEM = System("resnet", FORMATS, architecture, TOLD, from_config, surroundings, features=FEATURES)


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
        told={"architecture": f"resnet{depth}"},
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
