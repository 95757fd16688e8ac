"""CLIP: OpenAI's, open_clip's and transformers' names <-> ours (lesson 2.4).

open_clip kept OpenAI's names. What no shape tells: whether the activation is QuickGELU (OpenAI's weights) or the exact
GELU (most of open_clip's); the number of heads, always 64 numbers wide in the released towers.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables.rules import FLATTEN_KERNEL, STACK_ROWS, TRANSPOSE, Row, Table
from checkpoints_convert.tables.system import Architecture, Format, System, count_blocks, mean_and_std
from minimodels.pixels.preprocess import CLIPPreprocess, TransformersPreprocess, preprocess_to_dict

SIZE = "a size as a number, read from the shapes instead"
SCALARS = ("input_resolution", "context_length", "vocab_size")


def openai_blocks(theirs: str, ours: str) -> list[Row]:
    """One tower's blocks: OpenAI's q, k and v are stacked as ours are."""
    rows: list[Row] = []
    for part in ("weight", "bias"):
        rows += [
            (f"{theirs}.{{i}}.ln_1.{part}", f"{ours}.{{i}}.norm1.{part}"),
            (f"{theirs}.{{i}}.attn.in_proj_{part}", f"{ours}.{{i}}.attn.qkv.{part}"),
            (f"{theirs}.{{i}}.attn.out_proj.{part}", f"{ours}.{{i}}.attn.out_proj.{part}"),
            (f"{theirs}.{{i}}.ln_2.{part}", f"{ours}.{{i}}.norm2.{part}"),
            (f"{theirs}.{{i}}.mlp.c_fc.{part}", f"{ours}.{{i}}.mlp.fc1.{part}"),
            (f"{theirs}.{{i}}.mlp.c_proj.{part}", f"{ours}.{{i}}.mlp.fc2.{part}"),
        ]
    return rows


def conv_norm(conv: str, norm: str, ours: str) -> list[Row]:
    """One convolution and its BatchNorm."""
    rows: list[Row] = [(f"{conv}.weight", f"{ours}.conv.weight")]
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return rows + [(f"{norm}.{part}", f"{ours}.norm.{part}") for part in parts]


def openai_resnet() -> list[Row]:
    """The ResNet tower. OpenAI counts from 1 (conv1, layer1), our lists from 0."""
    rows: list[Row] = []
    for number in range(3):
        rows += conv_norm(f"visual.conv{number + 1}", f"visual.bn{number + 1}", f"image_tower.stem.{number}")
    for stage in range(4):
        theirs, ours = f"visual.layer{stage + 1}.{{i}}", f"image_tower.stages.{stage}.{{i}}"
        for number in (1, 2, 3):
            rows += conv_norm(f"{theirs}.conv{number}", f"{theirs}.bn{number}", f"{ours}.conv{number}")
        rows += conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
    rows.append(("visual.attnpool.positional_embedding", "image_tower.attention_pool.pos"))
    for part in ("weight", "bias"):
        for theirs, ours in (("q_proj", "q_proj"), ("k_proj", "k_proj"), ("v_proj", "v_proj"), ("c_proj", "out_proj")):
            rows.append((f"visual.attnpool.{theirs}.{part}", f"image_tower.attention_pool.{ours}.{part}"))
    return rows


OPENAI: list[Row] = [
    ("logit_scale", "logit_scale"),
    ("visual.conv1.weight", "image_tower.patch_proj.weight", FLATTEN_KERNEL),
    ("visual.class_embedding", "image_tower.class_token"),
    ("visual.positional_embedding", "image_tower.pos"),
    ("visual.ln_pre.weight", "image_tower.norm_pre.weight"),
    ("visual.ln_pre.bias", "image_tower.norm_pre.bias"),
    *openai_blocks("visual.transformer.resblocks", "image_tower.blocks"),
    ("visual.ln_post.weight", "image_tower.norm_post.weight"),
    ("visual.ln_post.bias", "image_tower.norm_post.bias"),
    ("visual.proj", "image_tower.proj.weight", TRANSPOSE),
    ("token_embedding.weight", "text_tower.token_embedding.weight"),
    ("positional_embedding", "text_tower.pos"),
    *openai_blocks("transformer.resblocks", "text_tower.blocks"),
    ("ln_final.weight", "text_tower.norm.weight"),
    ("ln_final.bias", "text_tower.norm.bias"),
    ("text_projection", "text_tower.proj.weight", TRANSPOSE),
    *[(name, None, SIZE) for name in SCALARS],
]
# With a ResNet, `visual.conv1.weight` is the first convolution of the stem and not the patches.
OPENAI_RESNET: list[Row] = [row for row in OPENAI if not row[0].startswith("visual.")] + openai_resnet()


def transformers_rows() -> list[Row]:
    """transformers' CLIPModel: q, k and v apart, projections stored as linear layers, `pre_layrnorm` spelled so."""
    rows: list[Row] = [
        ("logit_scale", "logit_scale"),
        ("vision_model.embeddings.class_embedding", "image_tower.class_token"),
        ("vision_model.embeddings.patch_embedding.weight", "image_tower.patch_proj.weight", FLATTEN_KERNEL),
        ("vision_model.embeddings.position_embedding.weight", "image_tower.pos"),
        ("vision_model.embeddings.position_ids", None, "0, 1, 2 ... as a tensor, recomputed"),
        ("visual_projection.weight", "image_tower.proj.weight"),
        ("text_model.embeddings.token_embedding.weight", "text_tower.token_embedding.weight"),
        ("text_model.embeddings.position_embedding.weight", "text_tower.pos"),
        ("text_model.embeddings.position_ids", None, "0, 1, 2 ... as a tensor, recomputed"),
        ("text_projection.weight", "text_tower.proj.weight"),
    ]
    for part in ("weight", "bias"):
        rows += [
            (f"vision_model.pre_layrnorm.{part}", f"image_tower.norm_pre.{part}"),
            (f"vision_model.post_layernorm.{part}", f"image_tower.norm_post.{part}"),
            (f"text_model.final_layer_norm.{part}", f"text_tower.norm.{part}"),
        ]
        for theirs, ours in (("vision_model", "image_tower"), ("text_model", "text_tower")):
            layer, block = f"{theirs}.encoder.layers.{{i}}", f"{ours}.blocks.{{i}}"
            rows += [
                (f"{layer}.layer_norm1.{part}", f"{block}.norm1.{part}"),
                (f"{layer}.self_attn.{{q,k,v}}_proj.{part}", f"{block}.attn.qkv.{part}", STACK_ROWS),
                (f"{layer}.self_attn.out_proj.{part}", f"{block}.attn.out_proj.{part}"),
                (f"{layer}.layer_norm2.{part}", f"{block}.norm2.{part}"),
                (f"{layer}.mlp.fc1.{part}", f"{block}.mlp.fc1.{part}"),
                (f"{layer}.mlp.fc2.{part}", f"{block}.mlp.fc2.{part}"),
            ]
    return rows


FORMATS = {
    "openai": Format(Table(OPENAI), {"quick_gelu": True}, marks=SCALARS),
    "openai_resnet": Format(Table(OPENAI_RESNET), {"quick_gelu": True}, marks=SCALARS),
    "open_clip": Format(Table(OPENAI)),
    "open_clip_resnet": Format(Table(OPENAI_RESNET)),
    "transformers": Format(Table(transformers_rows()), {"quick_gelu": True}),
}
HEAD_DIM = 64


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; heads are 64 wide unless told."""
    text_width = tensors["text_tower.pos"].shape[1]
    arguments = {
        "embed_dim": len(tensors["text_tower.proj.weight"]),
        "text_width": text_width,
        "text_depth": count_blocks(tensors, "text_tower.blocks."),
        "text_heads": told.get("text_heads", text_width // HEAD_DIM),
        "text_mlp_dim": len(tensors["text_tower.blocks.0.mlp.fc1.weight"]),
        "context_length": len(tensors["text_tower.pos"]),
        "vocab_size": len(tensors["text_tower.token_embedding.weight"]),
        "quick_gelu": activation(told),
    }
    if "image_tower.attention_pool.pos" in tensors:
        return "CLIPResNet", {**arguments, **resnet_sizes(tensors, told)}
    return "CLIP", {**arguments, **vision_sizes(tensors, told)}


def vision_sizes(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> dict[str, Any]:
    """The ViT tower's numbers; its position table is always square."""
    width, patch_numbers = tensors["image_tower.patch_proj.weight"].shape
    patch_size = round((patch_numbers / 3) ** 0.5)
    return {
        "image_size": round((len(tensors["image_tower.pos"]) - 1) ** 0.5) * patch_size,
        "patch_size": patch_size,
        "vision_width": width,
        "vision_depth": count_blocks(tensors, "image_tower.blocks."),
        "vision_heads": told.get("vision_heads", width // HEAD_DIM),
        "vision_mlp_dim": len(tensors["image_tower.blocks.0.mlp.fc1.weight"]),
    }


def resnet_sizes(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> dict[str, Any]:
    """The ResNet tower's numbers; the last feature map, 32 x `width` channels wide, is read by heads of 64."""
    width = len(tensors["image_tower.stem.2.conv.weight"])
    stages = count_blocks(tensors, "image_tower.stages.")
    return {
        "image_size": round((len(tensors["image_tower.attention_pool.pos"]) - 1) ** 0.5) * 32,
        "vision_width": width,
        "vision_depths": tuple(count_blocks(tensors, f"image_tower.stages.{stage}.") for stage in range(stages)),
        "vision_heads": told.get("vision_heads", width * 32 // HEAD_DIM),
    }


def activation(told: Mapping[str, Any]) -> bool:
    """QuickGELU or not. OpenAI's names without the three scalars may be either: told, or assumed aloud."""
    if "quick_gelu" not in told:
        warnings.warn(
            "nothing in these weights tells QuickGELU (OpenAI's) from GELU (most of open_clip's): QuickGELU is "
            "assumed; say quick_gelu=False where it is not so",
            stacklevel=2,
        )
    return told.get("quick_gelu", True)


def from_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers' config.json or open_clip's open_clip_config.json says beyond the shapes."""
    if "model_cfg" in config:
        return {"quick_gelu": bool(config["model_cfg"].get("quick_gelu", False))}
    if config.get("model_type") != "clip":
        return {}
    vision, text = config.get("vision_config") or {}, config.get("text_config") or {}
    told: dict[str, Any] = {"quick_gelu": vision.get("hidden_act", "quick_gelu") == "quick_gelu"}
    if "num_attention_heads" in vision:
        told["vision_heads"] = vision["num_attention_heads"]
    if "num_attention_heads" in text:
        told["text_heads"] = text["num_attention_heads"]
    return told


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Mapping[str, Any]) -> dict[str, Any]:
    """CLIP's tokenizer, and its preprocessing: as a config beside the weights says, else OpenAI's."""
    if "preprocessor_config" in beside:
        preprocess = preprocess_to_dict(TransformersPreprocess.from_config(beside["preprocessor_config"]))
    else:
        numbers = mean_and_std(beside.get("open_clip_config", {}).get("preprocess_cfg", {}))
        preprocess = preprocess_to_dict(CLIPPreprocess(arguments["image_size"], **numbers))
    return {"preprocess": preprocess, "tokenizer": {"kind": "clip", "context_length": arguments["context_length"]}}


SYSTEM = System("clip", FORMATS, architecture, ("vision_heads", "text_heads", "quick_gelu"), from_config, surroundings)
