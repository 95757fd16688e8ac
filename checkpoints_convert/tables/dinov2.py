"""DINOv2: the official repository's, timm's and transformers' names <-> ours (lesson 2.5).

Two things do not go name by name. timm calls a SwiGLU's layers as an MLP's (`fc1`, `fc2`): shapes tell them apart. And
timm has no mask token, and for models with registers no position of the class token: it is added to the token itself.
What no shape tells: the heads (in all releases 64 wide), and how positions are resized. For that the official
repository decides in every format, by whether there are registers; timm and transformers resize in other ways, which
`position_offset` and `antialias` can tell.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from checkpoints_convert.tables import timm
from checkpoints_convert.tables.assumed import check_sizes, heads_of, say_assumed
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.rules import FIRST, FIRST_FIRST, FLATTEN_KERNEL, STACK_ROWS, Converted, Row, Table
from checkpoints_convert.tables.system import HEADS, Architecture, Check, Format, System, count_blocks
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, number, text, truth, whole
from minimodels.pixels.preprocess import TimmPreprocess, TransformersPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD

TIMM_MLP = re.compile(r"(blocks\.[0-9]+\.mlp\.)fc([12])(\.weight|\.bias)")
SPELLED = {"fc1": "w12", "fc2": "w3"}  # timm's word for a SwiGLU's layers, the official one


def official_rows(registers: str = "register_tokens") -> list[Row]:
    """The names of the official files, a flat state dict."""
    rows: list[Row] = [
        ("cls_token", "class_token", FIRST_FIRST),
        ("pos_embed", "pos", FIRST),
        (registers, "register_tokens", FIRST),
        ("mask_token", "mask_token", FIRST),
        ("patch_embed.proj.weight", "patch_proj.weight", FLATTEN_KERNEL),
        ("patch_embed.proj.bias", "patch_proj.bias"),
        ("blocks.{i}.ls1.gamma", "blocks.{i}.scale1"),
        ("blocks.{i}.ls2.gamma", "blocks.{i}.scale2"),
    ]
    for part in ("weight", "bias"):
        rows += [
            (f"blocks.{{i}}.norm1.{part}", f"blocks.{{i}}.norm1.{part}"),
            (f"blocks.{{i}}.attn.qkv.{part}", f"blocks.{{i}}.attn.qkv.{part}"),
            (f"blocks.{{i}}.attn.proj.{part}", f"blocks.{{i}}.attn.out_proj.{part}"),
            (f"blocks.{{i}}.norm2.{part}", f"blocks.{{i}}.norm2.{part}"),
            (f"blocks.{{i}}.mlp.fc1.{part}", f"blocks.{{i}}.mlp.fc1.{part}"),
            (f"blocks.{{i}}.mlp.fc2.{part}", f"blocks.{{i}}.mlp.fc2.{part}"),
            (f"blocks.{{i}}.mlp.w12.{part}", f"blocks.{{i}}.mlp.gate_value.{part}"),
            (f"blocks.{{i}}.mlp.w3.{part}", f"blocks.{{i}}.mlp.out_proj.{part}"),
            (f"norm.{part}", f"norm.{part}"),
        ]
    return rows


def transformers_rows(names: Mapping[str, str]) -> list[Row]:
    """transformers' Dinov2Model and Dinov2WithRegistersModel, in the spelling of the hub or of version 5's memory."""
    rows: list[Row] = [
        ("embeddings.cls_token", "class_token", FIRST_FIRST),
        ("embeddings.position_embeddings", "pos", FIRST),
        ("embeddings.register_tokens", "register_tokens", FIRST),
        ("embeddings.mask_token", "mask_token", FIRST),
        ("embeddings.patch_embeddings.projection.weight", "patch_proj.weight", FLATTEN_KERNEL),
        ("embeddings.patch_embeddings.projection.bias", "patch_proj.bias"),
        ("encoder.layer.{i}.layer_scale1.lambda1", "blocks.{i}.scale1"),
        ("encoder.layer.{i}.layer_scale2.lambda1", "blocks.{i}.scale2"),
    ]
    for part in ("weight", "bias"):
        theirs, ours = "encoder.layer.{i}.", "blocks.{i}."
        rows += [
            (f"{theirs}norm1.{part}", f"{ours}norm1.{part}"),
            (f"{theirs}{names['qkv']}.{part}", f"{ours}attn.qkv.{part}", STACK_ROWS),
            (f"{theirs}{names['out']}.{part}", f"{ours}attn.out_proj.{part}"),
            (f"{theirs}norm2.{part}", f"{ours}norm2.{part}"),
            (f"{theirs}mlp.fc1.{part}", f"{ours}mlp.fc1.{part}"),
            (f"{theirs}mlp.fc2.{part}", f"{ours}mlp.fc2.{part}"),
            (f"{theirs}{names['gate_value']}.{part}", f"{ours}mlp.gate_value.{part}", STACK_ROWS),
            (f"{theirs}{names['mlp_out']}.{part}", f"{ours}mlp.out_proj.{part}"),
            (f"layernorm.{part}", f"norm.{part}"),
        ]
    return rows


ON_THE_HUB = {
    "qkv": "attention.attention.{query,key,value}",
    "out": "attention.output.dense",
    "gate_value": "mlp.weights_in",
    "mlp_out": "mlp.weights_out",
}
IN_MEMORY = {
    "qkv": "attention.{q,k,v}_proj",
    "out": "attention.o_proj",
    "gate_value": "mlp.{gate,up}_proj",
    "mlp_out": "mlp.down_proj",
}


class WholeTable(Table):
    """A table that writes what its reference always has and a model from timm may lack: zeros, which change nothing."""

    def export(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tensors = dict(tensors)
        if is_square(len(tensors["pos"])):  # no row of the class token: its position is in the token
            tensors["pos"] = torch.cat([torch.zeros_like(tensors["pos"][:1]), tensors["pos"]])
        return super().export(tensors)


class TimmTable(Table):
    """timm's names: two of them mean two things, and two of our tensors have no name there."""

    def convert(self, tensors: Mapping[str, Tensor]) -> Converted:
        """As `Table.convert`; the mask token, which no answer passes, becomes zeros."""
        timm_names = {self.official(name, tensors): name for name in tensors}
        result = super().convert({official: tensors[name] for official, name in timm_names.items()})
        result.sources = {
            ours: ([timm_names[name] for name in names], what) for ours, (names, what) in result.sources.items()
        }
        if "class_token" in result.tensors and "mask_token" not in result.tensors:
            result.tensors["mask_token"] = torch.zeros_like(result.tensors["class_token"])
            result.sources["mask_token"] = ([], "zeros")
        return result

    def export(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `Table.export`, without the mask token; with registers, the class token's position joins the token."""
        tensors = {name: tensor for name, tensor in tensors.items() if name != "mask_token"}
        if "register_tokens" in tensors and not is_square(len(tensors["pos"])):
            tensors["class_token"] = tensors["class_token"] + tensors["pos"][0]
            tensors["pos"] = tensors["pos"][1:]
        official = super().export(tensors)
        return {name.replace(".w12.", ".fc1.").replace(".w3.", ".fc2."): tensor for name, tensor in official.items()}

    @staticmethod
    def official(name: str, tensors: Mapping[str, Tensor]) -> str:
        """A SwiGLU's first layer makes twice as many numbers as its second one takes."""
        match = TIMM_MLP.fullmatch(name)
        first, second = (tensors.get(f"{match[1]}fc{layer}.weight") if match else None for layer in (1, 2))
        if match is None or first is None or second is None or not first.ndim == second.ndim == 2:
            return name
        if len(first) != 2 * second.shape[1]:
            return name
        return f"{match[1]}{SPELLED['fc' + match[2]]}{match[3]}"


def is_square(number: int) -> bool:
    """Whether so many positions make a square grid (then none of them is the class token's)."""
    return round(number**0.5) ** 2 == number


def transformers_class(arguments: Mapping[str, Any]) -> str:
    """transformers has one class with registers and one without."""
    return f"transformers.{'Dinov2WithRegistersModel' if arguments['num_registers'] else 'Dinov2Model'}"


TIMM_TABLE = TimmTable([row for row in official_rows("reg_token") if row[0] != "mask_token"])
FORMATS = {
    "official": Format(
        WholeTable(official_rows()),
        marks=("mask_token",),
        takes=lambda _: "dinov2.models.vision_transformer.DinoVisionTransformer",
    ),
    "timm": Format(TIMM_TABLE, takes=lambda _: "timm.models.vision_transformer.VisionTransformer"),
    "transformers": Format(WholeTable(transformers_rows(ON_THE_HUB))),
    "transformers_v5": Format(WholeTable(transformers_rows(IN_MEMORY)), takes=transformers_class),
}


HEADS_BY_WIDTH = {384: 6, 768: 12, 1024: 16, 1152: 16, 1536: 24}  # of the released models
NEEDED = {
    "class_token": "no class token",
    "blocks.0.norm1.bias": "norms without a bias (RMSNorm)",
    "norm.weight": "no norm behind the last block",
    "pos": "no positions",
}
FEATURES = {
    **timm.FEATURES,
    r"^(head|classifier)\.": "a head of class scores",
    r"^fc_norm\.": "a norm behind the mean of the patches",
}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; heads of the released models and the official way to resize positions unless told.

    Raises:
        UserError: positions that make no square; heads that nothing tells; another model's parts.
    """
    timm.check_whole(tensors, "DINOv2", NEEDED)
    embed_dim, patch_numbers = tensors["patch_proj.weight"].shape
    patch_size, positions = round((patch_numbers / 3) ** 0.5), len(tensors["pos"])
    class_position = not is_square(positions)
    side = round((positions - int(class_position)) ** 0.5)
    if side * side + int(class_position) != positions:
        raise UserError(f"{positions} positions are neither a square grid of patches nor one and the class token")
    check_sizes({"patch_size": patch_size}, told, ["patch_size"])
    name = told.get("architecture", "")
    if name.startswith("vit_") and embed_dim in HEADS_BY_WIDTH:
        told = {"num_heads": HEADS_BY_WIDTH[embed_dim], **told}
    if "num_heads" not in told:
        told = {**told, "num_heads": heads_of(embed_dim, HEADS_BY_WIDTH, "num_heads")}
        say_assumed({"num_heads": told["num_heads"]})
    swiglu, registers = "blocks.0.mlp.gate_value.weight" in tensors, tensors.get("register_tokens")
    if registers is None and not class_position:
        raise UserError(
            f"{positions} positions leave none for the class token, which is so beside registers, and there are no "
            "registers"
        )
    check_sizes({"num_registers": 0 if registers is None else len(registers)}, told, ["num_registers"])
    second = "blocks.0.mlp.out_proj.weight" if swiglu else "blocks.0.mlp.fc2.weight"
    return "DINOv2", {
        "image_size": side * patch_size,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": count_blocks(tensors, "blocks."),
        "num_heads": told["num_heads"],
        "mlp_dim": tensors[second].shape[1],
        "swiglu": swiglu,
        "num_registers": 0 if registers is None else len(registers),
        "class_position": class_position,
        "position_offset": told.get("position_offset", 0.1 if registers is None else 0.0),
        "antialias": told.get("antialias", registers is not None),
    }


def from_config(config: Settings) -> dict[str, Any]:
    """What transformers' config.json or timm's says beyond the shapes.

    Raises:
        UserError: something that no DINOv2 has: another epsilon, activation or pooling.
    """
    if timm.architecture_name(config):
        return from_timm(config)
    config.expect("model_type", "dinov2", "dinov2_with_registers", why="the tensors are named as a DINOv2's")
    if "model_type" not in config:
        return {}
    config.expect("layer_norm_eps", 1e-6, why="in every DINOv2 it is so, as in ours")
    config.expect("hidden_act", "gelu", why="our DINOv2 has the exact GELU")
    with_registers = config.get("model_type") == "dinov2_with_registers"
    return {
        "num_heads": HEADS(config.get("num_attention_heads", 12), f"num_attention_heads in {config.where}"),
        "num_registers": config.whole("num_register_tokens", 4, least=0) if with_registers else 0,
    }


def from_timm(config: Settings) -> dict[str, Any]:
    """The same of timm's: its arguments, and the architecture's name for the rest."""
    arguments = timm.check_arguments(config, "DINOv2")
    told: dict[str, Any] = {"architecture": timm.architecture_name(config), **timm.patch_size(config, arguments)}
    for place in (arguments, timm.pretrained_cfg(config), config):
        place.expect("global_pool", "token", why="our DINOv2 gives the class token")
    if "num_heads" in arguments:
        told["num_heads"] = HEADS(arguments["num_heads"], f"num_heads in {arguments.where}")
    return told


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """The official evaluation's preprocessing (shorter side 256 bicubic, centre 224), or what a config beside says."""
    if "preprocessor_config" in beside:
        config = beside.inside("preprocessor_config")
        if config.text("image_processor_type", "").startswith("BitImageProcessor"):  # CLIP's by another name
            named = {"image_processor_type": "CLIPImageProcessor", **dict.fromkeys(config.nulls)}
            config = Settings({**config, **named}, config.where)
        return {"preprocess": preprocess_to_dict(TransformersPreprocess.from_config(config, usual="CLIP"))}
    config = beside.inside("config")
    if format_name == "timm" and timm.architecture_name(config):
        return timm.preprocess(config, (arguments["image_size"],) * 2, {})
    size = 224 // arguments["patch_size"] * arguments["patch_size"]
    usual = TimmPreprocess(size, crop_pct=0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return {"preprocess": preprocess_to_dict(usual)}


TOLD: dict[str, Check] = {
    "architecture": text,
    "patch_size": whole,
    "num_registers": partial(whole, least=0),
    "num_heads": HEADS,
    "position_offset": partial(number, above=-1, most=1),
    "antialias": truth,
}
SYSTEM = System("dinov2", FORMATS, architecture, TOLD, from_config, surroundings, features=FEATURES)


# ---------------------------------------------------------------- the official checkpoints

DINOV2_FILES = "https://dl.fbaipublicfiles.com/dinov2"
DINOV2_SIZES = (("small", 22056576), ("base", 86580480), ("large", 304368640), ("giant", 1136480768))  # parameters


def _dinov2() -> list[Entry]:
    """Every DINOv2 in its three layouts, with and without registers; sizes counted from the shapes."""
    made = []
    for size, parameters in DINOV2_SIZES:
        width = {"small": 384, "base": 768, "large": 1024, "giant": 1536}[size]
        for registers in (False, True):
            tail, note = ("_reg4", ", 4 registers") if registers else ("", "")
            note, about = (
                f"DINOv2 ViT-{size[0].upper().replace('G', 'g')}/14{note}",
                4 * (parameters + 4 * width * registers),
            )
            name = f"dinov2_vit{size[0]}14{tail}"
            file, url = f"{name}_pretrain.pth", f"{DINOV2_FILES}/dinov2_vit{size[0]}14/{name}_pretrain.pth"
            shared: dict[str, Any] = {"system": "dinov2", "licence": "Apache-2.0", "note": note}
            made.append(Entry(name, format="official", files=(File(file, about=about),), url=url, **shared))
            repos = {
                "transformers": f"facebook/dinov2-{'with-registers-' * registers}{size}",
                "timm": f"timm/vit_{size}_patch14{tail}_dinov2.lvd142m",
            }
            for form, repo in repos.items():
                beside = ("config.json", "preprocessor_config.json")[: 2 if form == "transformers" else 1]
                files = (File("model.safetensors", about=about), *(File(other) for other in beside))
                made.append(Entry(repo, format=form, files=files, repo=repo, **shared))
    return made


ENTRIES: tuple[Entry, ...] = (*_dinov2(),)
