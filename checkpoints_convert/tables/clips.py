"""CLIPS and CLIPA: open_clip's names <-> ours (lesson 3.7).

The names are CLIP's without the norm before the blocks. What no shape tells: heads, the epsilon and the text tower's
activation, in which CLIPS and CLIPA differ; without a config a context of 80 tokens is taken for CLIPS.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import clip, clip_configs
from checkpoints_convert.tables import open_clip_words as words
from checkpoints_convert.tables.assumed import check_sizes, heads_of, say_assumed
from checkpoints_convert.tables.catalogue import TOKENIZER_FILES, Entry, File
from checkpoints_convert.tables.rules import Table
from checkpoints_convert.tables.system import EPSILON, HEADS, Architecture, Check, Format, System
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, shown, truth, whole, wholes
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.pixels.preprocess_tensor import IMAGENET_MEAN, IMAGENET_STD

FORMATS = {
    "open_clip": Format(
        Table([row for row in clip.OPENAI if "ln_pre" not in row[0]]),
        takes=lambda _: "open_clip.model.CLIP, built with the config of a CLIPS or CLIPA",
    )
}
CONTEXT = 80  # tokens of a text in CLIPS; CLIPA has 32
POOLED = "Pooled are the mean of the patches and the last token, as in every CLIPS and CLIPA"


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
        say_assumed(assumed, POOLED)
    arguments |= assumed | {key: told[key] for key in IN_NO_SHAPE if key in told}
    check_sizes(arguments, told, clip.SIZES)
    return "CLIPS", arguments


def from_config(config: Settings) -> dict[str, Any]:
    """What open_clip_config.json says.

    Raises:
        UserError: a value of a wrong type, or a model that is another one than ours: what a missing key means in
            open_clip counts too.
    """
    if not config.keys() & {"model_cfg", "preprocess_cfg"}:
        return {}  # somebody else's
    model = config.inside("model_cfg")
    vision, text = model.inside("vision_cfg"), model.inside("text_cfg")
    for settings, lacks, has, others in (
        (model, MODEL_LACKS, {}, clip_configs.MODEL_PASSED | clip_configs.MODEL_READ),
        (vision, VISION_LACKS, VISION_HAS, clip_configs.VISION_PASSED | clip_configs.VISION_READ),
        (text, TEXT_LACKS, TEXT_HAS, clip_configs.TEXT_PASSED | clip_configs.TEXT_READ | clip_configs.TOKENIZER_KEYS),
    ):
        clip_configs.refuse_lacking(settings, lacks, "CLIPS")
        for key, (value, usual) in has.items():
            settings.expect(key, value, usual=usual, why="so it is in every CLIPS and CLIPA, which have these tensors")
        clip_configs.refuse_unknown(settings, {*lacks, *has, *others, *READ})
    told = {"embed_dim": model.whole("embed_dim"), "norm_eps": epsilon(vision, text), "tanh_gelu": tanh_gelu(text)}
    activation(vision).expect("approximate", "none", why="the image tower has the exact GELU")
    return {**told, **clip_configs.open_clip_vision(vision), **clip_configs.open_clip_text(text)}


def epsilon(vision: Settings, text: Settings) -> float:
    """The epsilon of every LayerNorm.

    Raises:
        UserError: the towers differ, or their norms have more that is unusual.
    """
    found: list[float] = []
    for side in (vision, text):
        norm = side.inside("norm_kwargs")
        refuse_others(norm, "eps")
        found.append(norm.number("eps", 1e-5, above=0, most=1))
    if found[0] != found[1]:
        raise UserError(
            f"norm_kwargs in {text.where} tell eps {found[1]}, those in {vision.where} {found[0]}: our CLIPS has one "
            "for both towers, as all released ones"
        )
    return found[0]


def activation(side: Settings) -> Settings:
    """What is told of one tower's GELU."""
    told = side.inside("act_kwargs")
    refuse_others(told, "approximate")
    return told


def tanh_gelu(text: Settings) -> bool:
    """Whether the text tower has the GELU's approximation by tanh."""
    return bool(activation(text).text("approximate", "none", among=("none", "tanh")) == "tanh")


def refuse_others(settings: Settings, known: str) -> None:
    """Raise UserError for a key that our CLIPS does not read."""
    for key in settings:
        if key != known:
            raise UserError(f"{shown(key)} in {settings.where}: our CLIPS knows {known} there, and nothing else")


READ = ("norm_kwargs", "act_kwargs")
# What every CLIPS has, and what open_clip takes where a key is missing.
VISION_HAS: dict[str, Any] = {
    "no_ln_pre": (True, False),
    "pool_type": ("avg", "tok"),
    "final_ln_after_pool": (True, False),
}
TEXT_HAS: dict[str, Any] = {"pool_type": ("last", "argmax"), "no_causal_mask": (True, False)}
MODEL_LACKS = {**clip_configs.MODEL_LACKS, **clip_configs.CUSTOM_TEXT, "quick_gelu": ("QuickGELU", (False,))}
VISION_LACKS, TEXT_LACKS = (
    {key: what for key, what in lacks.items() if key not in (*has, *READ)}
    for lacks, has in ((clip_configs.VISION_LACKS, VISION_HAS), (clip_configs.TEXT_LACKS, TEXT_HAS))
)
IN_NO_SHAPE = ("vision_heads", "text_heads", "norm_eps", "tanh_gelu")


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """Both sides squashed to the model's size, and the words: as the config tells, else as in the released models."""
    config = beside.inside("open_clip_config")
    if config:
        preprocess = clip_configs.open_clip_preprocess(config, arguments["image_size"])
    else:
        numbers: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        preprocess = CLIPPreprocess(arguments["image_size"], **numbers, interpolation="bilinear", squash=True)
    context = arguments["context_length"]
    usual = {"frame": "clips" if context == CONTEXT else "no_end", "context_length": context, "name": words.BERT}
    return {
        "preprocess": preprocess_to_dict(preprocess),
        "tokenizer": words.tokenizer("CLIPS", arguments["vocab_size"], context, usual, beside),
    }


TOLD: dict[str, Check] = {"vision_heads": HEADS, "text_heads": HEADS, "norm_eps": EPSILON, "tanh_gelu": truth}
TOLD |= {name: wholes if name == "vision_depths" else whole for name in clip.SIZES}
SYSTEM = System("clips", FORMATS, architecture, TOLD, from_config, surroundings, lent=words.LENT)


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
