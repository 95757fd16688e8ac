"""BiomedCLIP: open_clip's names of timm's ViT and transformers' BERT <-> ours (lesson 3.12).

Both encoders keep their libraries' names, each behind a prefix. What no shape tells, the heads of both, follows from
the encoders' names in open_clip_config.json; without it, it is assumed aloud.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints_convert.tables import bert, clip_configs, vit
from checkpoints_convert.tables import open_clip_words as words
from checkpoints_convert.tables.assumed import check_sizes
from checkpoints_convert.tables.catalogue import Entry, File
from checkpoints_convert.tables.clipseg import prefixed
from checkpoints_convert.tables.rules import Row, Table
from checkpoints_convert.tables.system import HEADS, Architecture, Check, Format, System, two_sides
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, whole
from minimodels.pixels.preprocess import preprocess_to_dict

CONTEXT = 256  # tokens of a text; the table of positions has 512
ENCODERS = {"vit_base_patch16_224": 12, "test_vit": 2}  # timm's names that our BiomedCLIP takes, the second for tests
TEXT_HEADS = 12  # of PubMedBERT, whose own config does not lie beside the weights
PUBMED = tuple(f"microsoft/BiomedNLP-{kind}-base-uncased-abstract" for kind in ("BiomedBERT", "PubMedBERT"))
POOLER = ("cls_last_hidden_state_pooler",)
HEADLESS = [row for row in vit.TIMM if not row[0].startswith(("head.", "fc_norm."))]
WORDS = [row for row in bert.official_rows() if not row[0].startswith("pooler.")]
ROWS: list[Row] = [
    *prefixed(HEADLESS, "visual.trunk.", "image_tower.vit."),
    ("visual.head.proj.weight", "image_tower.proj.weight"),
    *prefixed(WORDS, "text.transformer.", "text_tower.bert."),
    ("text.proj.0.weight", "text_tower.fc1.weight"),
    ("text.proj.2.weight", "text_tower.fc2.weight"),
    ("logit_scale", "logit_scale"),
]
FORMATS = {"open_clip": Format(Table(ROWS), takes=lambda _: "open_clip.model.CustomTextCLIP")}
FEATURES = {
    r"^text\.transformer\.pooler\.": "BERT's own pooler, which read the texts in the first upload (April 2023) and is "
    "in no file since November 2023: fetch the newer one",
    r"^(visual\.trunk|text)\..*(head|proj\.1|proj)\.bias": "another projection",
}


def architecture(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Architecture:
    """Each encoder's as its own table reads it.

    Raises:
        UserError: one type of token, as in a RoBERTa, which has BERT's names and counts its positions from 2; a told
            size that the shapes contradict.
    """
    told_vit = {**vit.FORMATS["timm"].told, **renamed(told, {"vision_heads": "num_heads", "image_size": "image_size"})}
    told_bert = {"norm_eps": bert.NORM_EPS, **renamed(told, {"text_heads": "num_heads"})}  # in all released BERTs
    arguments: dict[str, Any] = {
        "vit": part(vit.architecture(inside(tensors, "image_tower.vit."), told_vit)),
        "bert": part(bert.architecture(inside(tensors, "text_tower.bert."), told_bert)),
        "embed_dim": len(tensors["image_tower.proj.weight"]),
    }
    if (types := arguments["bert"]["arguments"]["token_types"]) != 2:
        raise UserError(f"the text tower has {types} types of tokens, expected BERT's 2: is it a RoBERTa?")
    check_sizes(arguments, told, ["embed_dim"])
    return "BiomedCLIP", arguments


def renamed(told: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What is told, by the names of a part's own table."""
    return {theirs: told[ours] for ours, theirs in names.items() if ours in told}


def inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one part, by its own names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def part(found: Architecture) -> dict[str, Any]:
    """A part of a model as a constructor is told it."""
    return {"class": found[0], "arguments": found[1]}


def from_config(config: Settings) -> dict[str, Any]:
    """open_clip_config.json of a BiomedCLIP, with the names of its keys before November 2023 or those since.

    Raises:
        UserError: a value of a wrong type, or other encoders, projections or pooling; what a missing key means in
            open_clip counts too.
    """
    if not config.keys() & {"model_cfg", "preprocess_cfg"}:
        return {}  # somebody else's
    model = config.inside("model_cfg")
    vision, text = model.inside("vision_cfg"), model.inside("text_cfg")
    clip_configs.refuse_lacking(model, clip_configs.MODEL_LACKS, "BiomedCLIP")
    vision.expect("timm_model_name", *ENCODERS, usual=None, why="of timm's image towers ours has BiomedCLIP's alone")
    vision.expect("timm_pool", "", "token", usual="avg", why="the class token is taken")
    vision.expect("timm_proj", "linear", why="one matrix leads to the shared space")
    vision.expect("timm_proj_bias", False, why="no BiomedCLIP has a bias there")
    text.expect("hf_model_name", *PUBMED, usual=None, why="of transformers' text towers ours has PubMedBERT alone")
    for key in ("proj", "hf_proj_type"):
        text.expect(key, "mlp", why="two matrices lead to the shared space")
    for key in ("pooler_type", "hf_pooler_type") if "pooler_type" in text else ("hf_pooler_type",):
        text.expect(key, *POOLER, usual=POOLER[0] if "pooler_type" in text else "mean_pooler", why="[CLS] is taken")
    text.expect("output_tokens", False, why="our BiomedCLIP has no answer but the embedding")
    clip_configs.refuse_unknown(model, {*clip_configs.MODEL_LACKS, *MODEL_PASSED, *clip_configs.MODEL_READ})
    clip_configs.refuse_unknown(vision, {*VISION_READ, *clip_configs.VISION_LACKS, *PASSED["vision"]})
    clip_configs.refuse_unknown(text, {*TEXT_READ, *clip_configs.TEXT_LACKS, *PASSED["text"]})
    size = clip_configs.side_of(vision, "image_size", 224)
    return {
        "embed_dim": model.whole("embed_dim"),
        "vision_heads": ENCODERS[vision["timm_model_name"]],
        "text_heads": TEXT_HEADS,
        "image_size": (size, size),
    }


# Keys whose values change an answer, by their names in either age; open_clip passes over the others, which tell of its
# own towers, of training and of the tokenizer.
VISION_READ = {"timm_model_name", "timm_pool", "timm_proj", "timm_proj_bias", "image_size"}
TEXT_READ = {"hf_model_name", "hf_proj_type", "hf_pooler_type", "proj", "pooler_type", "output_tokens"}
MODEL_PASSED = {"custom_text", *clip_configs.MODEL_PASSED}
PASSED = {
    "vision": clip_configs.VISION_PASSED | clip_configs.VISION_READ,
    "text": clip_configs.TEXT_PASSED | clip_configs.TEXT_READ | clip_configs.TOKENIZER_KEYS,
}


def surroundings(arguments: Mapping[str, Any], format_name: str, beside: Settings) -> dict[str, Any]:
    """CLIP's preprocessing, and PubMedBERT's words where its vocabulary lies beside the weights."""
    size, text = arguments["vit"]["arguments"]["image_size"][0], arguments["bert"]["arguments"]
    preprocess = clip_configs.open_clip_preprocess(beside.inside("open_clip_config"), size)
    usual = {"frame": "plain", "context_length": min(CONTEXT, text["max_length"]), "name": PUBMED[0]}
    return {
        "preprocess": preprocess_to_dict(preprocess),
        "tokenizer": words.tokenizer("BiomedCLIP", text["vocab_size"], text["max_length"], usual, beside),
    }


TOLD: dict[str, Check] = {"vision_heads": HEADS, "text_heads": HEADS, "embed_dim": whole, "image_size": two_sides}
SYSTEM = System("biomedclip", FORMATS, architecture, TOLD, from_config, surroundings, features=FEATURES)


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
