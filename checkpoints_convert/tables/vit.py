"""ViT: timm's and transformers' names <-> ours (lesson 2.4).

timm already stacks q, k and v in one matrix as we do; transformers keeps three. transformers has two spellings: the one
on the hub and in files, and the one that its models' `state_dict()` has since version 5.

What no shape tells is the number of heads, and in timm the activation and the place of the norms: the config beside the
weights tells them, transformers' by itself, timm's by the architecture's name.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from checkpoints_convert.tables import timm
from checkpoints_convert.tables.assumed import check_sizes, heads_of, say_assumed
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.rules import FIRST, FIRST_FIRST, FLATTEN_KERNEL, STACK_ROWS, Converted, Row, Table
from checkpoints_convert.tables.system import (
    EPSILON,
    HEADS,
    Architecture,
    Check,
    Format,
    System,
    count_blocks,
    two_sides,
)
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, text, truth, whole
from minimodels.pixels.preprocess import TransformersPreprocess, preprocess_to_dict

TIMM: list[Row] = [
    ("patch_embed.proj.weight", "patch_proj.weight", FLATTEN_KERNEL),
    ("patch_embed.proj.bias", "patch_proj.bias"),
    ("cls_token", "class_token", FIRST_FIRST),
    ("pos_embed", "pos", FIRST),
    ("blocks.{i}.norm1.weight", "blocks.{i}.norm1.weight"),
    ("blocks.{i}.norm1.bias", "blocks.{i}.norm1.bias"),
    ("blocks.{i}.attn.qkv.weight", "blocks.{i}.attn.qkv.weight"),
    ("blocks.{i}.attn.qkv.bias", "blocks.{i}.attn.qkv.bias"),
    ("blocks.{i}.attn.proj.weight", "blocks.{i}.attn.out_proj.weight"),
    ("blocks.{i}.attn.proj.bias", "blocks.{i}.attn.out_proj.bias"),
    ("blocks.{i}.norm2.weight", "blocks.{i}.norm2.weight"),
    ("blocks.{i}.norm2.bias", "blocks.{i}.norm2.bias"),
    ("blocks.{i}.mlp.fc1.weight", "blocks.{i}.mlp.fc1.weight"),
    ("blocks.{i}.mlp.fc1.bias", "blocks.{i}.mlp.fc1.bias"),
    ("blocks.{i}.mlp.fc2.weight", "blocks.{i}.mlp.fc2.weight"),
    ("blocks.{i}.mlp.fc2.bias", "blocks.{i}.mlp.fc2.bias"),
    ("norm.weight", "norm.weight"),
    ("norm.bias", "norm.bias"),
    ("fc_norm.weight", "pool_norm.weight"),
    ("fc_norm.bias", "pool_norm.bias"),
    ("head.weight", "head.weight"),
    ("head.bias", "head.bias"),
]


def transformers_rows(prefix: str, layer: str, names: Mapping[str, str]) -> list[Row]:
    """The rows of one of transformers' spellings.

    Args:
        prefix: "vit." before the backbone of a classifier, "" in a ViTModel.
        layer: where the blocks are.
        names: how this spelling calls q, k, v (as alternatives), out, fc1 and fc2.
    """
    rows: list[Row] = [
        (f"{prefix}embeddings.cls_token", "class_token", FIRST_FIRST),
        (f"{prefix}embeddings.position_embeddings", "pos", FIRST),
        (f"{prefix}embeddings.mask_token", None, "a stand-in for masked patches, used in pre-training alone"),
        (f"{prefix}embeddings.patch_embeddings.projection.weight", "patch_proj.weight", FLATTEN_KERNEL),
        (f"{prefix}embeddings.patch_embeddings.projection.bias", "patch_proj.bias"),
        (f"{prefix}pooler.dense.weight", None, "a tanh layer behind the class token that no class score passes"),
        (f"{prefix}pooler.dense.bias", None, "a tanh layer behind the class token that no class score passes"),
    ]
    for part in ("weight", "bias"):
        block = f"{prefix}{layer}.{{i}}."
        rows += [
            (f"{block}layernorm_before.{part}", f"blocks.{{i}}.norm1.{part}"),
            (f"{block}{names['qkv']}.{part}", f"blocks.{{i}}.attn.qkv.{part}", STACK_ROWS),
            (f"{block}{names['out']}.{part}", f"blocks.{{i}}.attn.out_proj.{part}"),
            (f"{block}layernorm_after.{part}", f"blocks.{{i}}.norm2.{part}"),
            (f"{block}{names['fc1']}.{part}", f"blocks.{{i}}.mlp.fc1.{part}"),
            (f"{block}{names['fc2']}.{part}", f"blocks.{{i}}.mlp.fc2.{part}"),
            (f"{prefix}layernorm.{part}", f"norm.{part}"),
            (f"classifier.{part}", f"head.{part}"),
        ]
    return rows


ON_THE_HUB = {
    "qkv": "attention.attention.{query,key,value}",
    "out": "attention.output.dense",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
IN_MEMORY = {"qkv": "attention.{q,k,v}_proj", "out": "attention.o_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


def timm_class(arguments: Mapping[str, Any]) -> str:
    """timm has one class for all."""
    return "timm.models.vision_transformer.VisionTransformer"


def classifier(arguments: Mapping[str, Any]) -> str:
    """transformers' model with a head; it pools by the class token."""
    by_token = arguments["class_token"] and not arguments["mean_pool"]
    return "transformers.ViTForImageClassification" if by_token and arguments["num_classes"] else ""


def body(arguments: Mapping[str, Any]) -> str:
    """Its body alone, without the tanh layer that no file of ours holds."""
    by_token = arguments["class_token"] and not arguments["mean_pool"]
    taken = by_token and not arguments["num_classes"]
    return "transformers.ViTModel, built with add_pooling_layer=False" if taken else ""


TRANSFORMERS_TOLD = {"norm_eps": 1e-12, "antialias": False}
V5, V5_BODY = (Table(transformers_rows(prefix, "layers", IN_MEMORY)) for prefix in ("vit.", ""))

FORMATS = {
    "timm": Format(Table(TIMM), {"norm_eps": 1e-6, "antialias": True}, takes=timm_class),
    "transformers": Format(Table(transformers_rows("vit.", "encoder.layer", ON_THE_HUB)), TRANSFORMERS_TOLD),
    "transformers_backbone": Format(Table(transformers_rows("", "encoder.layer", ON_THE_HUB)), TRANSFORMERS_TOLD),
    "transformers_v5": Format(V5, TRANSFORMERS_TOLD, takes=classifier),
    "transformers_v5_backbone": Format(V5_BODY, TRANSFORMERS_TOLD, takes=body),
}


# Width -> heads of the released models, timm's small test models among them; with timm's name beside the weights there
# is no guess, and those that differ from the others of their width stand below.
RELEASED = {64: 2, 96: 3, 192: 3, 256: 4, 320: 5, 384: 6, 512: 8, 640: 10, 768: 12, 832: 13, 896: 14}
RELEASED |= {1024: 16, 1152: 16, 1280: 16, 1408: 16, 1664: 16}
OTHER_HEADS = {"vit_base_patch16_gap_224": 16}
TIMM_NAMES = ("vit_", "flexivit_", "eva_large_", "test_vit", "deit_")  # what the names of timm's plain ViTs begin with


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; heads as the released models have them unless told; a mean where there is no class token.

    Raises:
        UserError: heads that nothing tells; a told picture size that has not as many patches as there are positions.
    """
    timm.check_whole(tensors, "ViT", NEEDED)
    embed_dim, patch_numbers = tensors["patch_proj.weight"].shape
    class_token = "class_token" in tensors
    num_patches = len(tensors["pos"]) - int(class_token and not without_row(tensors, told))
    patch_size = round((patch_numbers / 3) ** 0.5)
    check_sizes({"patch_size": patch_size}, told, ["patch_size"])
    name = told.get("architecture", "")
    if name.startswith(TIMM_NAMES) and embed_dim in RELEASED:
        told = {"num_heads": OTHER_HEADS.get(name, RELEASED[embed_dim]), **told}
    if "num_heads" not in told:
        told = {**told, "num_heads": heads_of(embed_dim, RELEASED, "num_heads")}
        say_assumed({"num_heads": told["num_heads"]})
    return "ViT", {
        "image_size": fitting(told["image_size"], num_patches, patch_size)
        if "image_size" in told
        else square(num_patches, patch_size),
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": count_blocks(tensors, "blocks."),
        "num_heads": told["num_heads"],
        "mlp_dim": len(tensors["blocks.0.mlp.fc1.weight"]),
        "num_classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        "class_token": class_token,
        "mean_pool": told.get("mean_pool", not class_token or "pool_norm.weight" in tensors),
        "norm_after_pool": "pool_norm.weight" in tensors,
        "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
        "norm_eps": told["norm_eps"],
        "antialias": told["antialias"],
    }


def without_row(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> bool:
    """Whether there are as many positions as patches though there is a class token: FlexiViT's has no position."""
    height, width = told.get("image_size", (0, 0))
    patches = 3 * height * width // tensors["patch_proj.weight"].shape[1]
    return "class_token" in tensors and len(tensors["pos"]) == patches


def adapt(converted: Converted, arguments: Mapping[str, Any]) -> None:
    """Where the class token has no position, ours gets zeros, which change nothing."""
    if without_row(converted.tensors, arguments):
        pos = converted.tensors["pos"]
        converted.tensors["pos"] = torch.cat([torch.zeros_like(pos[:1]), pos])


def square(num_patches: int, patch_size: int) -> tuple[int, int]:
    """The size in pixels of a square picture with that many patches.

    Raises:
        UserError: the patches make no square; then the size must be told.
    """
    side = round(num_patches**0.5)
    if side * side != num_patches:
        raise UserError(f"{num_patches} patch positions make no square grid; tell the size: image_size=(height, width)")
    return side * patch_size, side * patch_size


def fitting(image_size: tuple[int, int], num_patches: int, patch_size: int) -> tuple[int, int]:
    """A told picture size, where it has as many patches as there are positions.

    Raises:
        UserError: it has not.
    """
    patches = (image_size[0] // patch_size) * (image_size[1] // patch_size)
    if patches != num_patches:
        raise UserError(
            f"a picture of {image_size[0]} x {image_size[1]} pixels has {patches} patches of {patch_size}, and the "
            f"checkpoint {num_patches} positions for patches; tell the size that it is for: image_size=(height, width)"
        )
    return image_size


def from_config(config: Settings) -> dict[str, Any]:
    """What transformers' config.json or timm's config.json says beyond the shapes.

    Raises:
        UserError: something that our ViT has not: another model, activation or pooling.
    """
    if timm.architecture_name(config):
        return from_timm(config)
    config.expect("model_type", "vit", why="the tensors are named as a ViT's, whose config this is not")
    if "model_type" not in config:
        return {}
    config.expect("hidden_act", "gelu", why="our ViT has the exact GELU")
    return {
        "num_heads": HEADS(config.get("num_attention_heads", 12), f"num_attention_heads in {config.where}"),
        "norm_eps": EPSILON(config.get("layer_norm_eps", 1e-12), f"layer_norm_eps in {config.where}"),
        "image_size": two_sides(config.get("image_size", 224), f"image_size in {config.where}"),
    }


def from_timm(config: Settings) -> dict[str, Any]:
    """The same of timm's: its arguments, the size of the pictures, and the architecture's name for the rest."""
    arguments = timm.check_arguments(config, "ViT")
    told: dict[str, Any] = {"architecture": timm.architecture_name(config), **timm.patch_size(config, arguments)}
    if "num_heads" in arguments:
        told["num_heads"] = HEADS(arguments["num_heads"], f"num_heads in {arguments.where}")
    if "img_size" in arguments:
        told["image_size"] = two_sides(arguments["img_size"], f"img_size in {arguments.where}")
    elif size := timm.input_size(config):
        told["image_size"] = size
    for place in (arguments, timm.pretrained_cfg(config), config):
        if "global_pool" in place:
            place.expect("global_pool", "token", "avg", why="our ViT takes the class token or the mean of the patches")
            return told | {"mean_pool": place["global_pool"] == "avg"}
    return told


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """The preprocessing: as a config beside the weights says, else the library's usual one at the model's size."""
    height, width = arguments["image_size"]
    if not format_name.startswith("transformers"):
        return timm.preprocess(beside.inside("config"), (height, width), {})
    usual = {"image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width}}
    config = beside.get("preprocessor_config", usual)
    return {"preprocess": preprocess_to_dict(TransformersPreprocess.from_config(config))}


NEEDED = {
    "blocks.0.norm1.bias": "norms without a bias (RMSNorm)",
    "norm.weight pool_norm.weight": "no norm behind the last block",
    "pos": "no positions",
    "blocks.0.attn.qkv.weight": "no common projection of q, k and v",
}
TOLD: dict[str, Check] = {
    "architecture": text,
    "patch_size": whole,
    "image_size": two_sides,
    "num_heads": HEADS,
    "mean_pool": truth,
    "norm_eps": EPSILON,
    "antialias": truth,
}
SYSTEM = System("vit", FORMATS, architecture, TOLD, from_config, surroundings, adapt=adapt, features=timm.FEATURES)


# ---------------------------------------------------------------- the official checkpoints

TINY_SHA256 = "fecf81b492bd13ee7a5297cb74d1d417aac8bf7e1b7d96aed89c4691984587ed"
LARGE_SHA256 = "109390825a5bada2864f1b74445a63d29c51ef079c349644bc98996c452f6cf1"


def _timm(size: str, revision: str, weights: File, note: str) -> Entry:
    """One of timm's ViTs of "How to train your ViT?" (Steiner et al. 2021), fine-tuned on ImageNet-1k."""
    repo = f"timm/vit_{size}_patch16_224.augreg_in21k_ft_in1k"
    return Entry(
        name=repo,
        system="vit",
        format="timm",
        licence="Apache-2.0",
        files=(weights, File("config.json")),
        repo=repo,
        revision=revision,
        note=note,
    )


ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="google/vit-base-patch16-224",
        system="vit",
        format="transformers",
        licence="Apache-2.0",
        files=(File("model.safetensors", 346293852), File("config.json"), File("preprocessor_config.json")),
        repo="google/vit-base-patch16-224",
        revision="3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3",
        told={"norm_eps": 1e-12},
        note="ViT-B/16, 1000 ImageNet classes",
    ),
    _timm(
        "tiny",
        "7d3afdd0cf93ad84d986eb2d6bcc5812ebd0b106",
        File("model.safetensors", None, TINY_SHA256, about=22869664),
        "ViT-Ti/16, 1000 ImageNet classes",
    ),
    _timm(
        "small",
        "7e2c55630205e1266030f18370f4c6ed1a514b52",
        File("model.safetensors", 88216496, "79c03c635cdfd798a364a9d8c4e5c0b7255b975ea2c9616046d4f77ab01435aa"),
        "ViT-S/16, 1000 ImageNet classes",
    ),
    _timm("base", "main", File("model.safetensors", about=346270624), "ViT-B/16, 1000 ImageNet classes"),
    _timm(
        "large",
        "0930ab3308b84cb2ae091a4a80703c459412a4c7",
        File("model.safetensors", None, LARGE_SHA256, about=1217306528),
        "ViT-L/16, 1000 ImageNet classes",
    ),
)
