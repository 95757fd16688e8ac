"""What timm's config.json says that no tensor does, and what its architecture's name alone says.

timm writes the architecture's name, the arguments that were given beside it (`model_args`) and how pictures are
prepared (`pretrained_cfg`). What an architecture has by its name, another activation or twice the heads, stands in
timm's code alone: the few that matter here stand below, and `python -m tests.sweep` holds every name against timm.
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings
from minimodels.pixels.preprocess import TimmPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD

# Parts that other Vision Transformers and Swins have, by what their names contain; how a message calls them.
FEATURES = {
    r"(^|\.)ls[12]\.gamma": "LayerScale",
    r"(^|\.)norm_pre\.": "a norm before the blocks",
    r"(^|\.)attn_pool\.": "attention pooling",
    r"reg_token": "registers",
    r"[qk]_norm\.": "norms of q and k",
    r"attn\.norm\.": "a norm inside the attention",
    r"mlp\.norm\.": "a norm inside the MLP",
    r"fc1_[gx]\.": "a gated MLP (SwiGLU)",
    r"lambda_": "differential attention",
    r"(attns|ffns)\.[0-9]+\.|\.(mlp|attn)_out_proj\.": "attention and MLP side by side (parallel blocks)",
    r"rel_pos|relative_position": "relative positions",
    r"absolute_pos_embed|^(swin\.)?embeddings\.position_embeddings$": "absolute positions",
    r"cpb_mlp|attn\.(logit_scale|[qv]_bias)": "the attention of Swin V2 or BEiT",
    r"dist(illation)?_token|head_dist|distillation_classifier": "a distillation token, as a distilled DeiT",
}
TANH: tuple[str, ...] = ("vit_base_patch32_siglip", "vit_large_patch16_siglip_512", "vit_large_patch16_siglip_gap_512")
TANH += ("vit_giantopt_patch16_siglip", "vit_so400m_patch16_siglip")
ONLY_BY_NAME = {  # architectures, by what their names begin with, whose tensors are a plain ViT's and who are none
    "vit_base_patch16_rpn": "norms behind the attention and the MLP (res-post-norm)",
    **dict.fromkeys(TANH, "the tanh GELU"),
}
FIXED: dict[str, Any] = {  # arguments that change answers and leave no trace in the tensors: what ours has
    "norm_layer": None,
    "embed_norm_layer": None,
    "act_layer": "gelu",
    "block_fn": None,
    "mlp_layer": None,
    "attn_layer": None,
    "pool_include_prefix": False,
    "always_partition": False,
    "use_naflex": False,
    "in_chans": 3,
}
# Arguments that the tensors repeat, that are read elsewhere, or that no answer of a trained model depends on.
HARMLESS = (
    "img_size patch_size num_classes global_pool embed_dim depth depths num_heads head_dim mlp_ratio qkv_bias qk_norm "
    "scale_attn_norm scale_mlp_norm proj_bias init_values class_token pos_embed no_embed_class reg_tokens pre_norm "
    "final_norm fc_norm dynamic_img_size dynamic_img_pad strict_img_size window_size drop_rate pos_drop_rate "
    "patch_drop_rate proj_drop_rate attn_drop_rate drop_path_rate weight_init fix_init out_indices pretrained_strict"
).split()


def architecture_name(config: Settings) -> str:
    """The name of timm's architecture; empty in another library's config."""
    return config.text("architecture", "")


def check_arguments(config: Settings, kind: str) -> Settings:
    """`model_args`, where our model has all that they ask for.

    Raises:
        UserError: by its name or its arguments the architecture is another one.
    """
    name, arguments = architecture_name(config), config.inside("model_args")
    for beginning, feature in ONLY_BY_NAME.items():
        if name.startswith(beginning):
            raise UserError(f"architecture {name} in {config.where}: it has {feature}, which our {kind} has not")
    if "distilled" in name:
        raise UserError(f"architecture {name} in {config.where}: a distilled DeiT is another model than our {kind}")
    for key in arguments:
        if key in FIXED:
            arguments.expect(key, FIXED[key], why=f"our {kind} is not built otherwise")
        elif key not in HARMLESS:
            raise UserError(f"{key} in {arguments.where} is no argument of a {kind} that we know")
    return arguments


def patch_size(config: Settings, arguments: Settings) -> dict[str, int]:
    """The side of a patch that the arguments tell, else the architecture's name; nothing where neither does.

    timm resizes the kernels of a file to it. We do not: a file of other patches is refused.
    """
    if "patch_size" in arguments:
        return {"patch_size": arguments.whole("patch_size")}
    named = re.search(r"patch([0-9]{1,3})(_|$)", architecture_name(config))
    return {"patch_size": int(named[1])} if named else {}


def pretrained_cfg(config: Settings) -> Settings:
    """How pictures are prepared; in older files it is the config itself."""
    return config.inside("pretrained_cfg") if "pretrained_cfg" in config else config


def input_size(config: Settings) -> tuple[int, int] | None:
    """(height, width) of the pictures that the config tells.

    Raises:
        UserError: pictures of another number of colours than three.
    """
    size = pretrained_cfg(config).wholes("input_size", None, count=3)
    if size is None:
        return None
    if size[0] != 3:
        raise UserError(f"input_size in {pretrained_cfg(config).where} is {list(size)}: {size[0]} colours, expected 3")
    return size[1], size[2]


def preprocess(config: Settings, size: tuple[int, int], usual: Mapping[str, Any]) -> dict[str, Any]:
    """What `surroundings` gives: timm's evaluation transform as a config tells it, or the usual one without a config.

    Args:
        config: timm's config.json; empty where there is none.
        size: the pictures' height and width where the config does not tell them.
        usual: numbers of `TimmPreprocess` where there is no config.

    Raises:
        UserError: a way to crop that is not ours.
    """
    told = pretrained_cfg(config)
    height, width = (input_size(config) or size) if told else size
    if height != width:
        warnings.warn(
            f"timm's preprocessing for pictures of {height} x {width} is not one of ours: the model has no .preprocess",
            stacklevel=2,
        )
        return {}
    if not told:
        return {"preprocess": preprocess_to_dict(TimmPreprocess(height, **usual))}
    told.expect("crop_mode", "center", why="ours cuts the picture out of the middle, in no other way")
    numbers = {
        "crop_pct": told.number("crop_pct", 0.875, above=0, most=4),
        "interpolation": told.text("interpolation", "bicubic"),
        "mean": told.numbers("mean", IMAGENET_MEAN, count=3),
        "std": told.numbers("std", IMAGENET_STD, count=3, above=0),
    }
    return {"preprocess": preprocess_to_dict(TimmPreprocess(height, **numbers))}


def check_whole(tensors: Mapping[str, Tensor], kind: str, needed: Mapping[str, str]) -> None:
    """Parts without which a model is another one.

    Args:
        tensors: ours, converted.
        kind: how a message calls our model.
        needed: our name, or several of which one must be there ("norm.weight pool_norm.weight") -> what lacks it.

    Raises:
        UserError: one is missing, the blocks are there.
    """
    for names, what in needed.items():
        if not any(name in tensors for name in names.split()):
            raise UserError(f"{what} ({names.replace(' ', ' or ')} is filled by nothing): our {kind} is another model")
