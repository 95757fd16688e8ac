"""What lies beside a CLIP's weights: open_clip's and transformers' configs, as what `clip.architecture` is told.

Each key that changes an answer is read, or refused where our CLIP has no such thing; a key that is missing has the
library's own default. Sizes are read too: `architecture` compares them with the shapes. What both libraries keep for
training alone (dropout, first weights) is passed over.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, read_json, shown
from minimodels.pixels.preprocess import CLIPPreprocess
from minimodels.words.byte_pair import BytePairTokenizer

Lacking = Mapping[str, tuple[str, tuple[Any, ...]]]  # key -> what ours has not, the values that mean its absence

# Keys of open_clip's towers that our CLIP can have at one value only.
BLOCKS: Lacking = {
    "ls_init_value": ("layer scale", ()),
    "norm_kwargs": ("LayerNorm but of epsilon 1e-5", ({}, {"eps": 1e-5})),
    "act_kwargs": ("such activation", ({},)),
    "block_type": ("blocks but the usual ones", ("default",)),
    "qk_norm": ("norm of q and k", (False,)),
    "scaled_cosine_attn": ("attention by cosine", (False,)),
    "scale_heads": ("scale of heads", (False,)),
    "scale_attn_inner": ("norm inside attention", (False,)),
    "scale_attn": ("norm after attention", (False,)),
    "scale_fc": ("norm inside the MLP", (False,)),
    "output_tokens": ("answer but the embedding", (False,)),
}
VISION_LACKS: Lacking = {
    "timm_model_name": ("image tower of timm", ()),
    "attentional_pool": ("attentional pool behind a ViT", (False,)),
    "no_ln_pre": ("image tower without its first norm", (False,)),
    "pool_type": ("pooling but the class token's", ("tok",)),
    "pos_embed_type": ("such positions", ("learnable", "sin_cos_2d")),  # both are stored
    **BLOCKS,
}
TEXT_LACKS: Lacking = {
    "hf_model_name": ("text tower of transformers", ()),
    "embed_cls": ("class token in its text tower", (False,)),
    "no_causal_mask": ("text tower that looks ahead", (False,)),
    "pool_type": ("pooling but at the largest id, the end of text", ("argmax",)),
    "proj_bias": ("bias in its projection", (False,)),
    "proj_type": ("text tower without projection", ("linear",)),
    **BLOCKS,
}
MODEL_LACKS: Lacking = {
    "multimodal_cfg": ("decoder that writes captions (CoCa)", ()),
    "init_logit_bias": ("bias beside the scale (SigLIP)", ()),
    "nonscalar_logit_scale": ("scale but a single number", (False,)),
}
CUSTOM_TEXT: Lacking = {"custom_text": ("text tower with names of its own (text. in front)", (False,))}
# What changes no answer: training, what only a tower that is refused reads, and what only a tokenizer reads.
VISION_PASSED = {"patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "final_ln_after_pool"} | {
    f"timm_{key}" for key in ("model_pretrained", "pool", "proj", "proj_bias", "drop", "drop_path")
}
TEXT_PASSED = {"pad_id", "eos_id", "final_ln_after_pool"} | {
    f"hf_{key}" for key in ("model_pretrained", "proj_type", "pooler_type")
}
MODEL_PASSED = {"init_logit_scale", "output_dict"}
TOKENIZER_KEYS = {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"}
VISION_READ = {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio"}
TEXT_READ = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
MODEL_READ = {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"}


def refuse_lacking(settings: Settings, lacking: Lacking, kind: str = "CLIP") -> None:
    """Only values that our CLIP has, or its relative of another `kind`.

    Raises:
        UserError: another one; it names the key and what ours lacks.
    """
    for key, (what, allowed) in lacking.items():
        settings.expect(key, *(allowed or (None,)), why=f"our {kind} has no {what}")


def refuse_unknown(settings: Settings, known: set[str]) -> None:
    """open_clip refuses a key that it does not know: an answer may hang on it.

    Raises:
        UserError: there is one.
    """
    for key in settings:
        if key not in known:
            raise UserError(f"{shown(key)} in {settings.where} is no key of open_clip 3: what it changes is not known")


# ---------------------------------------------------------------- open_clip


def open_clip_told(config: Settings) -> dict[str, Any]:
    """What open_clip_config.json says.

    Raises:
        UserError: a value of a wrong type, or a model that is another one than ours.
    """
    model = config.inside("model_cfg")
    vision, text = model.inside("vision_cfg"), model.inside("text_cfg")
    refuse_lacking(model, MODEL_LACKS)
    refuse_lacking(vision, VISION_LACKS)
    refuse_lacking(text, TEXT_LACKS)
    refuse_lacking(model, CUSTOM_TEXT)
    refuse_unknown(model, {*MODEL_LACKS, *CUSTOM_TEXT, *MODEL_PASSED, *MODEL_READ})
    refuse_unknown(vision, {*VISION_LACKS, *VISION_PASSED, *VISION_READ})
    refuse_unknown(text, {*TEXT_LACKS, *TEXT_PASSED, *TEXT_READ, *TOKENIZER_KEYS})
    told = {"embed_dim": model.whole("embed_dim"), "quick_gelu": model.truth("quick_gelu", False)}
    return {**told, **open_clip_vision(vision), **open_clip_text(text)}


def open_clip_vision(vision: Settings) -> dict[str, Any]:
    """The image tower's numbers; several `layers` are a ResNet's stages."""
    width, head_width = vision.whole("width", 768, most=2**20), vision.whole("head_width", 64)
    told = {"vision_width": width, "image_size": side_of(vision, "image_size", 224)}
    if isinstance(vision.get("layers"), list):
        return {**told, "vision_depths": vision.wholes("layers"), "vision_heads": width * 32 // head_width}
    return {
        **told,
        "patch_size": side_of(vision, "patch_size", 16),
        "vision_depth": vision.whole("layers", 12),
        "vision_heads": width // head_width,
        "vision_mlp_dim": int(width * vision.number("mlp_ratio", 4.0, above=0, most=1024)),
    }


def open_clip_text(text: Settings) -> dict[str, Any]:
    """The text tower's numbers."""
    width = text.whole("width", 512, most=2**20)
    return {
        "text_width": width,
        "text_depth": text.whole("layers", 12),
        "text_heads": text.whole("heads", 8),
        "text_mlp_dim": int(width * text.number("mlp_ratio", 4.0, above=0, most=1024)),
        "context_length": text.whole("context_length", 77),
        "vocab_size": text.whole("vocab_size", 49408),
    }


def side_of(settings: Settings, key: str, default: int) -> int:
    """The side of a square: a number, or the same number twice."""
    if not isinstance(settings.get(key), list):
        return settings.whole(key, default)
    height, width = settings.wholes(key, count=2)
    if height != width:
        raise UserError(f"{key} in {settings.where} is {height} x {width}: our CLIP reads squares")
    return height


def open_clip_preprocess(config: Settings, image_size: int) -> CLIPPreprocess:
    """`preprocess_cfg`. Its `size` is not read: open_clip itself takes the tower's.

    Raises:
        UserError: a value of a wrong type, or a way to resize that is not ours.
    """
    settings = config.inside("preprocess_cfg")
    settings.expect("mode", "RGB", why="our CLIP reads colours")
    resize = settings.text("resize_mode", "shortest", among=("shortest", "squash"))
    found = settings.text("interpolation", "bicubic", among=("bicubic", "bilinear", "random"))
    numbers: dict[str, Any] = {}
    for key in ("mean", "std"):
        if settings.get(key):  # open_clip takes its own where there is none, 0 or an empty list
            one = not isinstance(settings[key], (list, tuple))
            numbers[key] = (settings.number(key),) * 3 if one else settings.numbers(key, count=3)
    kind = "bilinear" if found == "bilinear" else "bicubic"  # "random" is bicubic outside of training
    return CLIPPreprocess(image_size, **numbers, interpolation=kind, squash=resize == "squash")


# ---------------------------------------------------------------- transformers


def tower(config: Settings, name: str) -> Settings:
    """The config of one tower. Older files have it a second time as `..._dict`, and transformers takes that one."""
    return config.inside(f"{name}_dict" if f"{name}_dict" in config else name)


def transformers_told(config: Settings) -> dict[str, Any]:
    """What config.json of CLIP says, and of CLIPSeg about its CLIP.

    Raises:
        UserError: a value of a wrong type, or one that our CLIP does not have.
    """
    vision, text = tower(config, "vision_config"), tower(config, "text_config")
    for side in (vision, text):
        side.expect("layer_norm_eps", 1e-5, why="our CLIP has LayerNorms of epsilon 1e-5, as all released ones")
    vision.expect("num_channels", 3, why="our CLIP reads colours")
    names = [side.text("hidden_act", "quick_gelu", among=("quick_gelu", "gelu")) for side in (vision, text)]
    if names[0] != names[1]:
        raise UserError(
            f"hidden_act is {names[0]} in {vision.where} and {names[1]} in {text.where}: our CLIP has one activation "
            "for both towers, as all released ones"
        )
    vocab_size = text.whole("vocab_size", 49408)
    end = text.whole("eos_token_id", 49407, least=0)
    if end not in (2, vocab_size - 1):  # 2 stood in the configs of 2021: transformers then takes the largest id
        raise UserError(
            f"eos_token_id in {text.where} is {end}: our CLIP reads a text's embedding at the largest id, "
            f"{vocab_size - 1}, as all released ones"
        )
    return {
        "embed_dim": config.whole("projection_dim", 512),
        "image_size": vision.whole("image_size", 224),
        "patch_size": vision.whole("patch_size", 32),
        "vision_width": vision.whole("hidden_size", 768),
        "vision_depth": vision.whole("num_hidden_layers", 12),
        "vision_heads": vision.whole("num_attention_heads", 12),
        "vision_mlp_dim": vision.whole("intermediate_size", 3072),
        "text_width": text.whole("hidden_size", 512),
        "text_depth": text.whole("num_hidden_layers", 12),
        "text_heads": text.whole("num_attention_heads", 8),
        "text_mlp_dim": text.whole("intermediate_size", 2048),
        "context_length": text.whole("max_position_embeddings", 77),
        "vocab_size": vocab_size,
        "quick_gelu": names[0] == "quick_gelu",
    }


# ---------------------------------------------------------------- the tokenizer

VOCABULARY = 49408  # ids of OpenAI's tokenizer, the only one that we have for a CLIP
OPENAI_TOKENIZER = re.compile(r"openai/clip-vit-[a-z]+-patch[0-9]+(-336)?")


def tokenizer(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """OpenAI's, as all released CLIPs that we read; where another one belongs to the weights, why there is none."""
    if reason := another_tokenizer(arguments["vocab_size"], format_name, beside):
        why = f"this CLIP's texts cannot be read: {reason}; give it ids of its own tokenizer (encode_text)"
        return {"kind": "none", "why": why}
    return {"kind": "clip", "context_length": arguments["context_length"]}


def another_tokenizer(vocab_size: int, format_name: str, beside: Settings) -> str:
    """Why OpenAI's tokenizer is not the one of these weights; nothing where it is."""
    if vocab_size != VOCABULARY:
        return f"it knows {vocab_size:,} ids, OpenAI's tokenizer, the only one here, has {VOCABULARY:,}"
    if format_name.startswith("open_clip"):
        text = beside.inside("open_clip_config").inside("model_cfg").inside("text_cfg")
        name = text.text("hf_tokenizer_name", "")
        for key in ("tokenizer_mode", "tokenizer_kwargs"):
            if text.get(key):
                return f"{key} in {text.where} is {shown(text[key])}, which our tokenizer, OpenAI's, lacks"
        if name and not OPENAI_TOKENIZER.fullmatch(name):
            return f"their tokenizer is {shown(name)}, the only one here is OpenAI's"
    elif (path := Path(beside.text("vocabulary", ""))).suffix == ".json" and not openai_vocabulary(path):
        return f"{path.name} beside the weights has another vocabulary than OpenAI's tokenizer, the only one here"
    return ""


def openai_vocabulary(path: Path) -> bool:
    """Whether a tokenizer.json or vocab.json has OpenAI's pieces, in its order: each merge is one."""
    whole = Settings(read_json(path), str(path))
    found = dict(whole) if path.name == "vocab.json" else whole.inside("model").get("vocab")
    return bool(found == BytePairTokenizer.clip().ids)
