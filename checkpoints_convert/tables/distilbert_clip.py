"""A CLIP of two ready encoders: the names of github.com/moein-shariatnia/OpenAI-CLIP <-> ours (lesson 3.13).

Its best.pt is a plain state dict: timm's image encoder and transformers' DistilBERT under names of their own, and two
heads. No weights were ever published, so there is nothing to fetch; a reader's own training writes such a file. What
shapes do not tell, stands in the reader's copy of config.py and not beside the weights: the temperature, the heads of
another DistilBERT than the released one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import bert, resnet, timm, vit
from checkpoints_convert.tables.assumed import heads_of, say_assumed
from checkpoints_convert.tables.biomedclip import inside, part
from checkpoints_convert.tables.clipseg import prefixed
from checkpoints_convert.tables.rules import Row, Table
from checkpoints_convert.tables.system import HEADS, Architecture, Check, Format, System, two_sides
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, number, text, truth
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess

IMAGE, TEXT = "image_tower.encoder.", "text_tower.encoder."
PIXELS, CONTEXT = 224, 200  # `size` and `max_length` of the official config.py
TEXT_KEYS = {key: "text_heads" if key == "num_heads" else f"text_{key}" for key in bert.DISTIL_KEYS}
HEAD = {"projection": "fc1", "fc": "fc2", "layer_norm": "norm"}


def official_rows() -> list[Row]:
    """Either image encoder without its head, the text encoder, a projection head each."""
    vit_rows = [row for row in vit.TIMM if not row[0].startswith("head.")]
    resnet_rows = [row for row in resnet.rows() if not row[0].startswith("fc.")]
    rows = prefixed([*vit_rows, *resnet_rows], "image_encoder.model.", IMAGE)
    rows += prefixed(bert.distil_rows(), "text_encoder.model.", TEXT)
    for side in ("image", "text"):
        for theirs, ours in HEAD.items():
            for kind in ("weight", "bias"):
                rows.append((f"{side}_projection.{theirs}.{kind}", f"{side}_tower.proj.{ours}.{kind}"))
    return rows


def official_class(arguments: Mapping[str, Any]) -> str:
    """The official model pools the mean, as timm does it for each encoder; its DistilBERT has one epsilon."""
    image, words = arguments["image_encoder"], arguments["text_encoder"]["arguments"]
    pooled = image["class"] == "ResNet" or (image["arguments"]["mean_pool"] and image["arguments"]["norm_after_pool"])
    headless = not image["arguments"]["num_classes"]
    distil = not words["token_types"] and not words["pooler"] and words["norm_eps"] == bert.NORM_EPS
    return "OpenAI-CLIP.CLIPModel" if pooled and headless and distil else ""


FORMATS = {"OpenAI-CLIP": Format(Table(official_rows()), takes=official_class)}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Each encoder's as its own table reads it.

    Raises:
        UserError: the files of other models' encoders.
    """
    told = {**assumed(tensors, told), **told}
    words = {key: told[name] for key, name in TEXT_KEYS.items() if name in told}
    return "ProjectedCLIP", {
        "image_encoder": part(image_architecture(inside(tensors, IMAGE), told)),
        "text_encoder": part(bert.architecture(inside(tensors, TEXT), {**bert.DISTIL_TOLD, **words})),
        "embed_dim": len(tensors["image_tower.proj.fc1.weight"]),
        "temperature": told["temperature"],
    }


def assumed(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> dict[str, Any]:
    """What nobody told, as in the official code and its released encoders, said aloud.

    The official code has timm pool the mean of a ViT's patches, with a norm behind it (`fc_norm`). A ViT without that
    norm comes from changed code: its class token is taken.

    Raises:
        UserError: an encoder of no released width.
    """
    known: dict[str, Any] = {} if "temperature" in told else {"temperature": 1.0}
    if "text_heads" not in told:
        known["text_heads"] = heads_of(tensors[f"{TEXT}pos"].shape[-1], bert.HEADS_OF, "text_heads")
    if f"{IMAGE}pos" in tensors:
        if "vision_heads" not in told:
            known["vision_heads"] = heads_of(tensors[f"{IMAGE}pos"].shape[-1], vit.RELEASED, "vision_heads")
        if f"{IMAGE}pool_norm.weight" not in tensors and "mean_pool" not in told:
            known["mean_pool"] = False
    if known:
        say_assumed(known)
    return known


def image_architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """A ResNet by its first convolution, else a ViT."""
    if "stem.conv.weight" in tensors:
        return resnet.architecture(tensors, {key: told[key] for key in ("architecture",) if key in told})
    known = {key: told[key] for key in ("image_size", "mean_pool") if key in told}
    return vit.architecture(tensors, {**vit.FORMATS["timm"].told, **known, "num_heads": told["vision_heads"]})


def from_config(config: Settings) -> dict[str, Any]:
    """The official code writes no config. One that lies beside the weights all the same may be the text encoder's.

    Raises:
        UserError: it is another model's, timm's for instance.
    """
    config.expect("model_type", "distilbert", why="the text encoder is a DistilBERT")
    if timm.architecture_name(config):
        raise UserError(f"{config.where} is timm's, best.pt brings none: move it away and tell vision_heads")
    told = bert.from_config(config)
    return {TEXT_KEYS[key]: value for key, value in told.items()}


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """Pictures squashed to the encoder's square, bilinear and not smoothed; DistilBERT's words, where they are at hand.

    OpenCV, which the official code resizes with, rounds to 8 bits in between; ours does not, so that a pixel may differ
    by half a level.

    Raises:
        UserError: a vocabulary of another size than the text encoder's.
    """
    height, width = arguments["image_encoder"]["arguments"].get("image_size", (PIXELS, PIXELS))
    about: dict[str, Any] = {}
    if height == width:
        about["preprocess"] = preprocess_to_dict(TensorPreprocess(height, antialias=False))
    if "vocabulary" not in beside:
        return about
    words = bert.read_tokenizer(Path(beside.text("vocabulary")), beside.inside("tokenizer_config"))
    encoder = arguments["text_encoder"]["arguments"]
    if len(words["vocabulary"]) != encoder["vocab_size"]:
        raise UserError(
            f"{beside['vocabulary']} has {len(words['vocabulary']):,} pieces, this text encoder has rows for "
            f"{encoder['vocab_size']:,}: it belongs to another model; put the vocabulary of the training there"
        )
    return {**about, "tokenizer": text_rows(words, encoder["max_length"])}


def text_rows(words: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """A BERT's tokenizer, as a file tells it, that gives rows of ids alone; texts are cleaned as BERT does, no more."""
    kept = {key: value for key, value in words.items() if key in ("vocabulary", "lowercase", "strip_accents")}
    rows = {"kind": "word_rows", "frame": "plain", "repair": False, "context_length": min(CONTEXT, max_length)}
    return {**kept, **rows}


def temperature(value: Any, what: str) -> float:
    """A number above 0, at most a million; UserError else."""
    return number(value, what, above=0, most=1e6)


TOLD: dict[str, Check] = {
    "architecture": text,  # of a ResNet, by timm's name
    "vision_heads": HEADS,
    **{name: bert.TOLD[key] for key, name in TEXT_KEYS.items()},
    "image_size": two_sides,
    "mean_pool": truth,
    "temperature": temperature,
}
SYSTEM = System(
    "distilbert_clip",
    FORMATS,
    architecture,
    TOLD,
    from_config,
    surroundings,
    features=timm.FEATURES,
    lent={"vocabulary": ("distilbert/distilbert-base-uncased", "vocab.txt")},
)
