"""BiomedCLIP: open_clip's names of timm's ViT and transformers' BERT <-> ours (lesson 3.12).

Both encoders keep their libraries' names, each behind a prefix. What no shape tells: the heads of both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import bert, clip_configs, vit
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.clipseg import prefixed
from checkpoints_convert.tables.rules import Row, Table
from checkpoints_convert.tables.system import HEADS, Architecture, Check, Format, System
from minimodels.errors.untrusted import Settings
from minimodels.pixels.preprocess import preprocess_to_dict

CONTEXT = 256  # tokens of a text; the table of positions has 512
ROWS: list[Row] = [
    *prefixed(vit.TIMM, "visual.trunk.", "image_tower.vit."),
    ("visual.head.proj.weight", "image_tower.proj.weight"),
    *prefixed(bert.official_rows(), "text.transformer.", "text_tower.bert."),
    ("text.proj.0.weight", "text_tower.fc1.weight"),
    ("text.proj.2.weight", "text_tower.fc2.weight"),
    ("logit_scale", "logit_scale"),
]
FORMATS = {"open_clip": Format(Table(ROWS))}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Each encoder's as its own table reads it."""
    heads = {key.removesuffix("_heads"): {"num_heads": told[key]} for key in TOLD if key in told}
    told_vit = {**vit.FORMATS["timm"].told, **heads.get("vision", {})}
    told_bert = {"norm_eps": bert.NORM_EPS, **heads.get("text", {})}  # open_clip builds no other
    return "BiomedCLIP", {
        "vit": part(vit.architecture(inside(tensors, "image_tower.vit."), told_vit)),
        "bert": part(bert.architecture(inside(tensors, "text_tower.bert."), told_bert)),
        "embed_dim": len(tensors["image_tower.proj.weight"]),
    }


def inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one part, by its own names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def part(found: Architecture) -> dict[str, Any]:
    """A part of a model as a constructor is told it."""
    return {"class": found[0], "arguments": found[1]}


def from_config(config: Settings) -> dict[str, Any]:
    """open_clip_config.json: nothing in it tells more than the released model has; another model is refused.

    Raises:
        UserError: another image encoder, projection or pooling.
    """
    model = config.inside("model_cfg")
    vision, text = model.inside("vision_cfg"), model.inside("text_cfg")
    vision.expect("timm_model_name", "vit_base_patch16_224", why="our BiomedCLIP has this ViT")
    vision.expect("timm_pool", "", why="the class token is taken")
    vision.expect("timm_proj", "linear", why="one matrix leads to the shared space")
    for key in ("proj", "hf_proj_type"):  # the name before November 2023, and since
        text.expect(key, "mlp", why="two matrices lead to the shared space")
    for key in ("pooler_type", "hf_pooler_type"):
        text.expect(key, "cls_last_hidden_state_pooler", why="BERT's own pooler is not in these weights")
    text.expect("context_length", CONTEXT, why="so it was trained")
    return {}


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """CLIP's preprocessing, and PubMedBERT's words where its vocabulary lies beside the weights."""
    size = arguments["vit"]["arguments"]["image_size"][0]
    preprocess = clip_configs.open_clip_preprocess(beside.inside("open_clip_config"), size)
    about = {"preprocess": preprocess_to_dict(preprocess)}
    if "vocabulary" not in beside:
        return about
    words = bert.read_tokenizer(Path(beside.text("vocabulary")), beside.inside("tokenizer_config"))
    return {**about, "tokenizer": {**words, "kind": "word_rows", "frame": "plain", "context_length": CONTEXT}}


TOLD: dict[str, Check] = {"vision_heads": HEADS, "text_heads": HEADS}
SYSTEM = System("biomedclip", FORMATS, architecture, TOLD, from_config, surroundings)


# ---------------------------------------------------------------- the official checkpoints

REPO = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
ENTRIES: tuple[Entry, ...] = (
    Entry(
        name=REPO,
        system="biomedclip",
        format="open_clip",
        licence="MIT, card: research use",
        files=(
            File("open_clip_pytorch_model.bin", about=783610884),
            File("open_clip_config.json"),
            File("vocab.txt"),
            File("tokenizer_config.json"),
        ),
        repo=REPO,
        note="BiomedCLIP, ViT-B/16 and PubMedBERT",
        told={"vision_heads": 12, "text_heads": 12},
    ),
)
