"""CLIPS and CLIPA: open_clip's names <-> ours (lesson 3.7).

The names are CLIP's without the norm before the blocks. What no shape tells: heads, the epsilon and the text tower's
activation, in which CLIPS and CLIPA differ; without a config a context of 80 tokens is taken for CLIPS.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import clip, clip_configs
from checkpoints_convert.tables.assumed import check_sizes, heads_of, say_assumed
from checkpoints_convert.tables.catalogue import TOKENIZER_FILES, Entry, File
from checkpoints_convert.tables.rules import Table
from checkpoints_convert.tables.system import EPSILON, HEADS, Architecture, Check, Format, System
from minimodels.errors.untrusted import Settings, truth, whole
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD

FORMATS = {"open_clip": Format(Table([row for row in clip.OPENAI if "ln_pre" not in row[0]]))}
CONTEXT = 80  # tokens of a text in CLIPS; CLIPA has 32


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Sizes from shapes; heads, epsilon and activation as told, else as in the released models, said aloud.

    Raises:
        UserError: a told size that the shapes contradict; a width of no released tower, and no heads told.
    """
    arguments = clip.text_sizes(tensors) | clip.vision_sizes(tensors)
    clips = arguments["context_length"] == CONTEXT
    usual = {"norm_eps": 1e-6 if clips else 1e-5, "tanh_gelu": clips}
    for key, width, released in (
        ("vision_heads", arguments["vision_width"], clip.VISION_HEADS),
        ("text_heads", arguments["text_width"], clip.TEXT_HEADS),
    ):
        if key not in told:
            usual[key] = heads_of(width, released, key)
    assumed = {key: value for key, value in usual.items() if key not in told}
    if assumed:
        say_assumed(assumed)
    arguments |= assumed | {key: told[key] for key in IN_NO_SHAPE if key in told}
    check_sizes(arguments, told, clip.SIZES)
    return "CLIPS", arguments


def from_config(config: Settings) -> dict[str, Any]:
    """What open_clip_config.json says.

    Raises:
        UserError: a value of a wrong type, or a model that is another one than ours.
    """
    model = config.inside("model_cfg")
    if not model:
        return {}
    vision, text = model.inside("vision_cfg"), model.inside("text_cfg")
    epsilons = [side.inside("norm_kwargs").number("eps", 1e-5, above=0, most=1) for side in (vision, text)]
    for settings, wanted in ((vision, VISION_HAS), (text, TEXT_HAS)):
        for key, value in wanted.items():
            settings.expect(key, value, why="so it is in every CLIPS and CLIPA")
    text.inside("norm_kwargs").expect("eps", epsilons[0], why="the image tower has it, and our CLIPS has one for both")
    model.expect("quick_gelu", False, why="no CLIPS has QuickGELU")
    activation = text.inside("act_kwargs").text("approximate", "none", among=("none", "tanh"))
    told = {"embed_dim": model.whole("embed_dim"), "norm_eps": epsilons[0], "tanh_gelu": activation == "tanh"}
    return {**told, **clip_configs.open_clip_vision(vision), **clip_configs.open_clip_text(text)}


VISION_HAS: dict[str, Any] = {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
TEXT_HAS: dict[str, Any] = {"pool_type": "last", "no_causal_mask": True}
IN_NO_SHAPE = ("vision_heads", "text_heads", "norm_eps", "tanh_gelu")


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """Both sides squashed to the model's size; WordPiece rows where a vocabulary lies beside the weights or is lent."""
    config = beside.inside("open_clip_config")
    if config.inside("preprocess_cfg"):
        preprocess = clip_configs.open_clip_preprocess(config, arguments["image_size"])
    else:
        numbers: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        preprocess = CLIPPreprocess(arguments["image_size"], **numbers, interpolation="bilinear", squash=True)
    return {"preprocess": preprocess_to_dict(preprocess)}


TOLD: dict[str, Check] = {"vision_heads": HEADS, "text_heads": HEADS, "norm_eps": EPSILON, "tanh_gelu": truth}
TOLD |= {name: whole for name in clip.SIZES if name != "vision_depths"}
SYSTEM = System("clips", FORMATS, architecture, TOLD, from_config, surroundings)


# ---------------------------------------------------------------- the official checkpoints


def _clips(name: str, about: int, note: str) -> Entry:
    """One of the published CLIPS; sizes counted from the shapes."""
    repo = f"UCSC-VLAA/{name}-Recap-DataComp-1B"
    small = (File("open_clip_config.json"), *(File(file, optional=True) for file in TOKENIZER_FILES))
    return Entry(
        name=repo,
        system="clips",
        format="open_clip",
        licence="Apache-2.0",
        files=(File("open_clip_pytorch_model.bin", about=about), *small),
        repo=repo,
        note=f"CLIPS {note}",
    )


ENTRIES: tuple[Entry, ...] = (
    _clips("ViT-L-14-CLIPS-224", 1656989700, "ViT-L/14 at 224 pixels"),
    _clips("ViT-L-14-CLIPS", 1658300420, "ViT-L/14 at 336 pixels"),
    _clips("ViT-H-14-CLIPS-224", 3873100000, "ViT-H/14 at 224 pixels"),
)
