"""Swin: the official repository's, timm's and transformers' names <-> ours (lesson 2.6).

timm writes a merge at the start of the stage that it leads to, everybody else at the end of the one it leaves. Official
files carry two kinds of buffers that are computed and not learned: `relative_position_index` and `attn_mask`; both are
dropped.

What no shape tells is the picture size: the released models have 32 x their window (224 for 7, 384 for 12). A window
other than the checkpoint's may be told; its bias tables are then resized as the official code does, bicubically.
`backbone=True` makes the segmentation flavour of a classifier's file and leaves the head out. On oblong pictures timm
shifts by another rule than everybody else: `each_axis`, told by its format.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from checkpoints_convert.tables import timm
from checkpoints_convert.tables.assumed import check_sizes
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.rules import FLATTEN_KERNEL, STACK_ROWS, Converted, Row, Table
from checkpoints_convert.tables.system import Architecture, Check, Format, System, count_blocks, two_sides
from minimodels.blocks import resize_positions
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, text, truth, whole, wholes
from minimodels.pixels.preprocess import TransformersPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD
from minimodels.swin import fitted_windows

MOST_STAGES = 8
MOST_WINDOW = 256  # tokens a side: a table for it has 261,121 rows
INDEX = "which row of the bias table stands for which two tokens: the same for every window of a size, computed"
MASK = "who sees whom in shifted windows: computed from the size of the map"
MASK_TOKEN = "a stand-in for masked patches, used in pre-training alone"
UNUSED_NORM = "the classifier's last norm; a backbone's maps do not pass it"
NO_HEAD = "left out: a backbone gives maps, not class scores"
TABLE = "relative_bias_table"


def official_rows() -> list[Row]:
    """Names of github.com/microsoft/Swin-Transformer; LAVT's and other backbones have them behind a prefix."""
    rows = shared_rows()
    for part in ("weight", "bias"):
        rows += [
            (f"layers.{{i}}.downsample.norm.{part}", f"stages.{{i}}.merge.norm.{part}"),
            (f"head.{part}", f"head.{part}"),
        ]
    return [
        *rows,
        ("layers.{i}.downsample.reduction.weight", "stages.{i}.merge.reduction.weight"),
        ("layers.{i}.blocks.{j}.attn.relative_position_index", None, INDEX),
        ("layers.{i}.blocks.{j}.attn_mask", None, MASK),
    ]


def timm_rows() -> list[Row]:
    """The same but for the head, and the merges one stage further on."""
    rows = shared_rows()
    for part in ("weight", "bias"):
        rows.append((f"head.fc.{part}", f"head.{part}"))
        rows += [
            (f"layers.{at + 1}.downsample.norm.{part}", f"stages.{at}.merge.norm.{part}") for at in range(MOST_STAGES)
        ]
    return rows + [
        (f"layers.{at + 1}.downsample.reduction.weight", f"stages.{at}.merge.reduction.weight")
        for at in range(MOST_STAGES)
    ]


def shared_rows() -> list[Row]:
    """What the official repository and timm call alike."""
    theirs, ours = "layers.{i}.blocks.{j}", "stages.{i}.blocks.{j}"
    rows: list[Row] = [
        ("patch_embed.proj.weight", "patch_proj.weight", FLATTEN_KERNEL),
        ("patch_embed.proj.bias", "patch_proj.bias"),
        (f"{theirs}.attn.relative_position_bias_table", f"{ours}.attn.{TABLE}"),
    ]
    for part in ("weight", "bias"):
        rows += [
            (f"patch_embed.norm.{part}", f"patch_norm.{part}"),
            (f"{theirs}.norm1.{part}", f"{ours}.norm1.{part}"),
            (f"{theirs}.attn.qkv.{part}", f"{ours}.attn.qkv.{part}"),
            (f"{theirs}.attn.proj.{part}", f"{ours}.attn.out_proj.{part}"),
            (f"{theirs}.norm2.{part}", f"{ours}.norm2.{part}"),
            (f"{theirs}.mlp.fc1.{part}", f"{ours}.mlp.fc1.{part}"),
            (f"{theirs}.mlp.fc2.{part}", f"{ours}.mlp.fc2.{part}"),
            (f"norm.{part}", f"norm.{part}"),
        ]
    return rows


def transformers_rows(prefix: str, names: Mapping[str, str], *, norm: str | None = "norm") -> list[Row]:
    """The rows of one of transformers' spellings.

    Args:
        prefix: "swin." before the body of a classifier, "" in a SwinModel.
        names: how this spelling calls q, k, v (as alternatives), the bias table, its index, out, fc1 and fc2.
        norm: our name of the norm behind the last block; None drops it.
    """
    theirs, ours = f"{prefix}encoder.layers.{{i}}.blocks.{{j}}", "stages.{i}.blocks.{j}"
    embeddings = f"{prefix}embeddings"
    rows: list[Row] = [
        (f"{embeddings}.patch_embeddings.projection.weight", "patch_proj.weight", FLATTEN_KERNEL),
        (f"{embeddings}.patch_embeddings.projection.bias", "patch_proj.bias"),
        (f"{embeddings}.mask_token", None, MASK_TOKEN),
        (f"{theirs}.{names['table']}", f"{ours}.attn.{TABLE}"),
        (f"{theirs}.{names['index']}", None, INDEX),
        (f"{prefix}encoder.layers.{{i}}.downsample.reduction.weight", "stages.{i}.merge.reduction.weight"),
    ]
    for part in ("weight", "bias"):
        last = f"{prefix}layernorm.{part}"
        rows += [
            (f"{embeddings}.norm.{part}", f"patch_norm.{part}"),
            (f"{theirs}.layernorm_before.{part}", f"{ours}.norm1.{part}"),
            (f"{theirs}.{names['qkv']}.{part}", f"{ours}.attn.qkv.{part}", STACK_ROWS),
            (f"{theirs}.{names['out']}.{part}", f"{ours}.attn.out_proj.{part}"),
            (f"{theirs}.layernorm_after.{part}", f"{ours}.norm2.{part}"),
            (f"{theirs}.{names['fc1']}.{part}", f"{ours}.mlp.fc1.{part}"),
            (f"{theirs}.{names['fc2']}.{part}", f"{ours}.mlp.fc2.{part}"),
            (f"{prefix}encoder.layers.{{i}}.downsample.norm.{part}", f"stages.{{i}}.merge.norm.{part}"),
            (last, f"{norm}.{part}") if norm else (last, None, UNUSED_NORM),
            (f"classifier.{part}", f"head.{part}"),
        ]
    return rows


def backbone_rows(prefix: str, names: Mapping[str, str]) -> list[Row]:
    """transformers' SwinBackbone: a norm a stage, which counts from 1. Its files keep one prefix that others lost."""
    rows = transformers_rows(prefix, names, norm=None)
    for part in ("weight", "bias"):
        rows += [] if prefix else [(f"swin.layernorm.{part}", None, UNUSED_NORM)]
        rows += [(f"hidden_states_norms.stage{at + 1}.{part}", f"norms.{at}.{part}") for at in range(MOST_STAGES)]
    return rows


ON_THE_HUB = {
    "qkv": "attention.self.{query,key,value}",
    "table": "attention.self.relative_position_bias_table",
    "index": "attention.self.relative_position_index",
    "out": "attention.output.dense",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
IN_MEMORY = {
    "qkv": "attention.{q,k,v}_proj",
    "table": "attention.relative_position_bias.relative_position_bias_table",
    "index": "attention.relative_position_bias.relative_position_index",
    "out": "attention.o_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
NORMS = tuple(f"hidden_states_norms.stage{at + 1}.weight" for at in range(MOST_STAGES))


def one_rule(arguments: Mapping[str, Any]) -> bool:
    """Whether timm's rule and everybody else's are the same for pictures of the trained size.

    They are where every map is cut into whole windows and merged in whole pairs, so that nothing is padded, and fits
    into its window on both axes or on none.
    """
    windows, (height, width) = windows_wanted(arguments), arguments["image_size"]
    steps = [arguments["patch_size"] * 2**stage for stage in range(len(windows))]
    if any(height % (step * window) or width % (step * window) for step, window in zip(steps, windows)):
        return False
    return all((height == step * window) == (width == step * window) for step, window in zip(steps, windows))


def timm_class(arguments: Mapping[str, Any]) -> str:
    """timm's model pools at its end: a backbone of maps is another one."""
    taken = "num_classes" in arguments and (arguments.get("each_axis") or one_rule(arguments))
    return "timm.models.swin_transformer.SwinTransformer" if taken else ""


def classifier(arguments: Mapping[str, Any]) -> str:
    """transformers' model with a head, or its body alone, which pools too. Its windows do not shrink to a small map."""
    if "num_classes" not in arguments or set(windows_wanted(arguments)) != {arguments["window_size"]}:
        return ""
    if arguments.get("each_axis") and not one_rule(arguments):
        return ""
    return "transformers.SwinForImageClassification" if arguments["num_classes"] else "transformers.SwinModel"


def when(name: str, takes: Callable[[Mapping[str, Any]], str]) -> Callable[[Mapping[str, Any]], str]:
    """Of two classes with one spelling each, this one."""
    return lambda arguments: taken if (taken := takes(arguments)) == name else ""


def backbone(arguments: Mapping[str, Any]) -> str:
    """Its maps of all stages, each behind a norm."""
    named = "out_features of all stages"
    return f"transformers.SwinBackbone, built with {named}" if arguments.get("output_norms") else ""


def unused_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' backbone holds the classifier's last norm too: as new, for nothing passes it."""
    last = tensors[f"hidden_states_norms.stage{sum(name in tensors for name in NORMS)}.weight"]
    return {"swin.layernorm.weight": torch.ones_like(last), "swin.layernorm.bias": torch.zeros_like(last)}


V5, V5_BODY = (Table(transformers_rows(prefix, IN_MEMORY)) for prefix in ("swin.", ""))
FORMATS = {
    "official": Format(Table(official_rows()), marks=("layers.0.downsample.reduction.weight",)),
    "timm": Format(Table(timm_rows()), {"each_axis": True}, takes=timm_class),
    "transformers": Format(Table(transformers_rows("swin.", ON_THE_HUB))),
    "transformers_body": Format(Table(transformers_rows("", ON_THE_HUB))),
    "transformers_v5": Format(V5, takes=when("transformers.SwinForImageClassification", classifier)),
    "transformers_v5_body": Format(V5_BODY, takes=when("transformers.SwinModel", classifier)),
    "transformers_backbone": Format(Table(backbone_rows("", ON_THE_HUB)), marks=NORMS),
    "transformers_v5_backbone": Format(
        Table(backbone_rows("swin.", IN_MEMORY)), marks=NORMS, computed=unused_norm, takes=backbone
    ),
}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; 32 pixels a window token unless the picture size is told."""
    embed_dim, patch_numbers = tensors["patch_proj.weight"].shape
    stages = range(count_blocks(tensors, "stages."))
    tables = [tensors[f"stages.{at}.blocks.0.attn.{TABLE}"] for at in stages]
    windows = [window_of(len(table), f"stage {at + 1}") for at, table in enumerate(tables)]
    arguments = {
        "patch_size": round((patch_numbers / 3) ** 0.5),
        "embed_dim": embed_dim,
        "depths": tuple(count_blocks(tensors, f"stages.{at}.blocks.") for at in stages),
        "num_heads": tuple(table.shape[1] for table in tables),
        "mlp_ratio": len(tensors["stages.0.blocks.0.mlp.fc1.weight"]) / embed_dim,
    }
    check_sizes(arguments, told, ["patch_size"])
    norms = "norms.0.weight" in tensors
    if told.get("backbone", norms):
        same = windows[0] if len(set(windows)) == 1 else tuple(windows)
        return "SwinBackbone", arguments | {"window_size": told.get("window_size", same), "output_norms": norms}
    several = told.get("architecture", "").startswith("swin_s3_") and len(set(windows)) > 1
    window = told.get("window_size", tuple(windows) if several else max(windows))
    last = window if isinstance(window, int) else window[-1]
    side = arguments["patch_size"] * 2 ** (len(windows) - 1) * last
    image_size = told.get("image_size", (side, side))
    if told.get("each_axis") and any(side % arguments["patch_size"] for side in image_size):
        raise UserError(
            f"image_size {image_size} is no multiple of the patch, {arguments['patch_size']}: timm leaves out the rest"
        )
    if "trained_window" in told and "window_size" not in told:
        named = told["trained_window"]
        check_trained(windows, fitted_windows(image_size, arguments["patch_size"], len(windows), named))
    return "Swin", arguments | {
        "image_size": image_size,
        "window_size": window,
        "each_axis": told.get("each_axis", False),
        "num_classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0,
    }


def check_trained(windows: list[int], wanted: list[int]) -> None:
    """Whether the bias tables are made for the windows that a config names.

    Raises:
        UserError: they are not; timm then resizes them in a way of its own.
    """
    if windows != wanted:
        raise UserError(
            f"the config's windows are {wanted} in pictures of this size, the bias tables are made for {windows}: timm "
            "resizes them in a way of its own; tell window_size=... for the official one"
        )


def window_of(rows: int, where: str) -> int:
    """The window side of a bias table with so many rows.

    Raises:
        UserError: no square window has that many relative positions.
    """
    side = round(rows**0.5)
    if side * side != rows or side % 2 == 0:
        raise UserError(
            f"the bias table of {where} has {rows} rows, and a window of w x w tokens needs (2 w - 1)^2 (169 for 7, "
            "529 for 12): square windows alone are read here"
        )
    return (side + 1) // 2


def adapt(converted: Converted, arguments: Mapping[str, Any]) -> None:
    """Bias tables of the windows that were asked for, and no head for a backbone.

    Raises:
        UserError: the tables are not those of a picture of this size, and no other window was told.
    """
    tensors, wanted = converted.tensors, windows_wanted(arguments)
    tables = [name for name in tensors if name.endswith(f".{TABLE}")]
    found = {name: window_of(len(tensors[name]), name) for name in tables}
    unfit = {name: window for name, window in found.items() if window != wanted[stage_of(name)]}
    own = (max(found.values()), tuple({stage_of(name): window for name, window in found.items()}.values()))
    if unfit and "image_size" in arguments and arguments["window_size"] in own:
        name, window = next(iter(unfit.items()))
        raise UserError(
            f"{name} is made for a window of {window} x {window} tokens, and a picture of "
            f"{' x '.join(map(str, arguments['image_size']))} pixels leads to {wanted[stage_of(name)]} x "
            f"{wanted[stage_of(name)]} there; tell the size that it was trained for, image_size=(height, width)"
        )
    for name in unfit:
        tensors[name] = resize_table(tensors[name], wanted[stage_of(name)])
    if "image_size" not in arguments:
        for name in ("norm.weight", "norm.bias", "head.weight", "head.bias"):
            if name in tensors:
                del tensors[name]
                converted.dropped[converted.sources.pop(name)[0][0]] = NO_HEAD


def stage_of(name: str) -> int:
    """stages.2.blocks.0 ... -> 2."""
    return int(name.split(".")[1])


def windows_wanted(arguments: Mapping[str, Any]) -> list[int]:
    """The window side of each stage, by the rule of the class."""
    stages, window = len(arguments["depths"]), arguments["window_size"]
    if "image_size" in arguments:
        return fitted_windows(arguments["image_size"], arguments["patch_size"], stages, window)
    return [window] * stages if isinstance(window, int) else list(window)


def resize_table(table: Tensor, window: int) -> Tensor:
    """A bias table for another window, as the official code does it: an image a head, bicubic, align_corners False."""
    old, new = round(len(table) ** 0.5), 2 * window - 1
    return resize_positions(table, (old, old), (new, new), antialias=False)


def from_config(config: Settings) -> dict[str, Any]:
    """What transformers' config.json or timm's config.json says beyond the shapes.

    Raises:
        UserError: something that our Swin has not: another model, epsilon, activation or pooling.
    """
    if timm.architecture_name(config):
        return from_timm(config)
    config.expect("model_type", "swin", why="the tensors are named as a Swin's, whose config this is not")
    if "model_type" not in config:
        return {}
    config.expect("layer_norm_eps", 1e-5, why="in every released Swin it is so, as in ours")
    config.expect("hidden_act", "gelu", why="our Swin has the exact GELU")
    config.expect("use_absolute_embeddings", False, why="our Swin has no absolute positions")
    return {"image_size": two_sides(config.get("image_size", 224), f"image_size in {config.where}")}


def from_timm(config: Settings) -> dict[str, Any]:
    """The same of timm's: its arguments, the size of the pictures, and whether windows differ by the stage."""
    arguments = timm.check_arguments(config, "Swin")
    for place in (arguments, timm.pretrained_cfg(config), config):
        place.expect("global_pool", "avg", why="our Swin takes the mean of the last map")
    told: dict[str, Any] = {"architecture": timm.architecture_name(config), **timm.patch_size(config, arguments)}
    named = re.search(r"window([0-9]{1,3})(_|$)", told["architecture"])
    if "window_size" in arguments:
        told["trained_window"] = windows(arguments["window_size"], f"window_size in {arguments.where}")
    elif named:
        told["trained_window"] = int(named[1])
    if "img_size" in arguments:
        return told | {"image_size": two_sides(arguments["img_size"], f"img_size in {arguments.where}")}
    size = timm.input_size(config)
    return told | ({"image_size": size} if size else {})


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """The preprocessing: as a config beside the weights says, else the library's usual one at the model's size."""
    if "image_size" not in arguments:
        return {}
    height, width = arguments["image_size"]
    if format_name.startswith("transformers"):
        usual = {"image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width}, "resample": 3}
        usual |= {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
        config = beside.get("preprocessor_config", usual)
        return {"preprocess": preprocess_to_dict(TransformersPreprocess.from_config(config))}
    usual = {"crop_pct": 0.9 if height < 384 else 1.0, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return timm.preprocess(beside.inside("config"), (height, width), usual)


def windows(value: Any, what: str) -> int | tuple[int, ...]:
    """The side of every window, or of each stage's; UserError else."""
    if isinstance(value, (list, tuple)):
        return wholes(value, what, most=MOST_WINDOW)
    return whole(value, what, most=MOST_WINDOW)


TOLD: dict[str, Check] = {
    "architecture": text,
    "patch_size": whole,
    "image_size": two_sides,
    "window_size": windows,
    "trained_window": windows,
    "each_axis": truth,
    "backbone": truth,
}
SYSTEM = System("swin", FORMATS, architecture, TOLD, from_config, surroundings, adapt=adapt, features=timm.FEATURES)


# ---------------------------------------------------------------- the official checkpoints

SWIN_FILES = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"


def _swin(name: str, about: int, note: str) -> Entry:
    """One of Microsoft's own files, of its first release; sizes counted from the shapes, buffers included."""
    return Entry(
        name=name,
        system="swin",
        format="official",
        licence="MIT",
        files=(File(f"{name}.pth", about=about),),
        note=f"Microsoft's own file: {note}",
        url=f"{SWIN_FILES}{name}.pth",
    )


def _swin_repo(repo: str, form: str, licence: str, about: int, note: str) -> Entry:
    """The same weights in transformers' or timm's layout; sizes counted from the shapes."""
    small = ("config.json", "preprocessor_config.json") if form == "transformers" else ("config.json",)
    return Entry(
        name=repo,
        system="swin",
        format=form,
        licence=licence,
        files=(File("model.safetensors", about=about), *(File(name) for name in small)),
        repo=repo,
        note=note,
    )


ENTRIES: tuple[Entry, ...] = (
    _swin("swin_tiny_patch4_window7_224", 114267480, "Swin-T, 1000 classes"),
    _swin("swin_base_patch4_window7_224_22k", 438096052, "Swin-B, 21,841 classes"),
    _swin("swin_base_patch4_window12_384_22k", 450665252, "Swin-B at 384 pixels: what LAVT's training starts from"),
    _swin_repo(
        "microsoft/swin-tiny-patch4-window7-224",
        "transformers",
        "Apache-2.0",
        113153416,
        "Swin-T, 1000 ImageNet classes",
    ),
    _swin_repo("timm/swin_tiny_patch4_window7_224.ms_in1k", "timm", "MIT", 113153416, "Swin-T, 1000 ImageNet classes"),
    _swin_repo(
        "timm/swin_base_patch4_window7_224.ms_in22k_ft_in1k",
        "timm",
        "MIT",
        351072896,
        "Swin-B, trained on 22k classes, then 1000",
    ),
    _swin_repo(
        "timm/swin_base_patch4_window12_384.ms_in22k_ft_in1k",
        "timm",
        "MIT",
        351614336,
        "Swin-B at 384 pixels, 1000 classes",
    ),
)
