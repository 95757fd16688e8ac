"""Every key of every config beside the weights, with values of every wrong kind: one line, or nothing has changed.

A machine finds the keys, at every level, of the configs that the libraries themselves write. Whatever a value is
replaced by, the converter refuses it in one line, or what it builds, prepares and reads is what it was.
"""

import ast
import copy
import json
import math
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import open_clip
import pytest
import transformers
from torch import nn

from checkpoints_convert.building import check_told
from checkpoints_convert.load import everything_told, recognise
from checkpoints_convert.proof.references import clips
from checkpoints_convert.proof.references.clip import TINY_TEXT, TINY_VIT
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.reading.files import Checkpoint
from checkpoints_convert.tables import SYSTEMS
from checkpoints_convert.tables.biomedclip import PUBMED
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings
from minimodels.stored import models

DELETED = object()
WRONG = [
    *(5, 1, 0, -1, 10**30, 0.5, -0.5, 1e308, math.nan, math.inf, True, False, None, DELETED),
    *("", "text", "5", "\ud800", [], [1], [1, 2], [None], [[1]], [1, 2, 3, 4, 5, 6, 7, 8, 9], {}, {"a": 1}),
]
OPEN_CLIP = {
    "embed_dim": 20,
    "quick_gelu": True,
    "custom_text": False,
    "vision_cfg": {**TINY_VIT, "mlp_ratio": 4.0, "patch_dropout": 0.0, "no_ln_pre": False, "pool_type": "tok"},
    "text_cfg": {**TINY_TEXT, "mlp_ratio": 4.0, "pool_type": "argmax", "norm_kwargs": {"eps": 1e-5}, "act_kwargs": {}},
}
WORDS = {"hf_tokenizer_name": "bert-base-uncased", "tokenizer_kwargs": {"strip_sep_token": True, "clean": "whitespace"}}
CLIPS = {
    "embed_dim": 20,
    "quick_gelu": False,
    "vision_cfg": {**clips.TINY_VISION, "act_kwargs": {"approximate": "none"}},
    "text_cfg": {**clips.TINY_TEXT, **WORDS, "vocab_size": 7},
}
BIOMEDCLIP = {
    "embed_dim": 24,
    "vision_cfg": {
        "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear",
        "timm_proj_bias": False, "image_size": 160,
    },
    "text_cfg": {
        **WORDS, "hf_model_name": PUBMED[0], "hf_model_pretrained": False, "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 10, "output_tokens": False,
    },
}  # fmt: skip
RESNET = {
    "architecture": "resnet18",
    "num_classes": 5,
    "num_features": 512,
    "global_pool": "avg",
    "model_args": {"layers": [1, 1, 1, 1], "output_stride": 32, "act_layer": "relu", "num_classes": 5},
    "pretrained_cfg": {
        "tag": "a1", "input_size": [3, 64, 64], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center",
        "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 5, "first_conv": "conv1",
    },
}  # fmt: skip
PIXELS = {
    "size": 24,
    "mode": "RGB",
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def plain(config) -> dict:
    """A library's config as it writes it."""
    return json.loads(json.dumps(config))


@cache
def tiny(model: str) -> tuple[dict, dict]:
    reference = reference_named(model, "transformers")
    theirs = redraw_all(reference.build(**reference.tiny))
    return dict(theirs.state_dict()), plain(theirs.config.to_dict())


def beside(model: str) -> tuple[dict, dict]:
    """The tensors and the configs of a tiny model, as its library writes both."""
    if model in OTHERS:
        tensors, name, config = OTHERS[model]()
        return tensors, {name: config}
    if model == "open_clip":
        sizes = {key: value for key, value in OPEN_CLIP.items() if key != "custom_text"}
        tensors = redraw_all(open_clip.CLIP(**copy.deepcopy(sizes))).state_dict()
        return tensors, {"open_clip_config": {"model_cfg": OPEN_CLIP, "preprocess_cfg": PIXELS}}
    tensors, config = tiny(model)
    pixels = {
        "CLIP ViT": transformers.CLIPImageProcessor,
        "CLIPSeg": transformers.ViTImageProcessor,
        "SAM": transformers.SamImageProcessor,
    }
    if model in pixels:
        processor = pixels[model]()
        if model == "SAM":
            processor = pixels[model](size={"longest_edge": 40}, pad_size={"height": 40, "width": 40})
        return tensors, {"config": config, "preprocessor_config": plain(processor.to_dict())}
    words = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True, "model_max_length": 512}
    words |= {"tokenizer_class": "BertTokenizer", "padding_side": "right", "truncation_side": "right"}
    words |= {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    return tensors, {"config": config, "tokenizer_config": words}


def clips_files() -> tuple[dict, str, dict]:
    """Tensors, the config's name, the config."""
    theirs = redraw_all(open_clip.CLIP(**copy.deepcopy(CLIPS)))
    return dict(theirs.state_dict()), "open_clip_config", plain({"model_cfg": CLIPS, "preprocess_cfg": PIXELS})


def biomedclip_files() -> tuple[dict, str, dict]:
    """The same. PubMedBERT, which its config names, has 12 heads."""
    reference = reference_named("BiomedCLIP", "open_clip")
    bert = {**reference.tiny["bert"], "hidden_size": 48, "num_attention_heads": 12, "vocab_size": 7}
    theirs = redraw_all(reference.build(**{**reference.tiny, "bert": bert}))
    return dict(theirs.state_dict()), "open_clip_config", {"model_cfg": BIOMEDCLIP, "preprocess_cfg": PIXELS}


def resnet_files() -> tuple[dict, str, dict]:
    """The same."""
    reference = reference_named("ResNet", "timm")
    theirs = redraw_all(reference.build(depths=[1, 1, 1, 1], bottleneck=False, num_classes=5))
    return dict(theirs.state_dict()), "config", RESNET


OTHERS = {"CLIPS": cache(clips_files), "BiomedCLIP": cache(biomedclip_files), "ResNet": cache(resnet_files)}


@cache
def converted(model: str) -> tuple[str, str, dict]:
    """System, format and our tensors."""
    tensors = beside(model)[0]
    system_name, found = recognise(Checkpoint(tensors, "safetensors", Path("model.safetensors")))
    return system_name, found, SYSTEMS[system_name].formats[found].table.convert(tensors).tensors


def outcome(model: str, extras: dict, vocabulary: Path) -> dict:
    """What `load` makes of a folder with these configs: all but the weights."""
    system_name, found, tensors = converted(model)
    system = SYSTEMS[system_name]
    name = "open_clip_model.safetensors" if "open_clip_config" in extras else "model.safetensors"
    reads = model in ("BERT", "DistilBERT", "CLIPS", "BiomedCLIP")
    extras = {**extras, "vocabulary": str(vocabulary)} if reads else extras
    checkpoint = Checkpoint({}, "safetensors", Path(name), extras=extras)
    told = check_told(everything_told(system, checkpoint, {}), system)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        class_name, arguments = system.architecture(tensors, {**system.formats[found].told, **told})
    built(class_name, repr(arguments))
    about = system.surroundings(arguments, found, Settings(extras, "what lies beside"))
    models.equip(nn.Module(), copy.deepcopy(about))
    return {"class": class_name, "arguments": arguments, **about}


@cache
def built(class_name: str, arguments: str) -> None:
    """Whether the class takes them."""
    models.build(class_name, ast.literal_eval(arguments))


def places(value, path=()) -> Iterator[tuple]:
    """Where a JSON value can be replaced: every key and every item, at every level."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


def changed(configs: dict, path: tuple, value) -> dict:
    configs = copy.deepcopy(configs)
    inner = configs
    for key in path[:-1]:
        inner = inner[key]
    if value is DELETED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return configs


# Values of the right kind: another answer, which the library gives too (`test_config_keys.py`, clip/test_configs.py).
RIGHT = {
    "quick_gelu": [False, None, DELETED],
    "heads": [1, None, DELETED],
    "head_width": [5, 1],
    "num_attention_heads": [1, None, DELETED],  # BERT's default divides its width
    "decoder_num_attention_heads": [1, None, DELETED],
    "n_heads": [1, None, DELETED],
    "layer_norm_eps": [1, 0.5],
    "do_lower_case": [False],
    "strip_accents": [True, False],
    "model_max_length": [5],
    **dict.fromkeys(("tokenizer_config", "preprocessor_config", "preprocess_cfg"), [None, DELETED, {}, {"a": 1}]),
    **dict.fromkeys(("mean", "std"), [False, None, DELETED, "", [], {}]),  # open_clip: none of them at all
    **dict.fromkeys(("image_mean", "image_std"), [None, DELETED]),
    **dict.fromkeys(
        (f"do_{what}" for what in ("convert_rgb", "resize", "rescale", "normalize", "center_crop")), [False, None]
    ),
    **dict.fromkeys(("size", "crop_size"), [5, 1, [1, 2]]),
    **dict.fromkeys(("shortest_edge", "height", "width"), [5, 1]),
    "resample": [5, 1, 0],
    "rescale_factor": [1, 0.5],
    # What open_clip takes where nothing is told, and what it tells beside the tensors.
    "open_clip_config": [None, DELETED, {}, {"a": 1}],  # nothing is known: it is assumed aloud
    "tokenizer_kwargs": [None, DELETED, {}],
    "strip_sep_token": [False, None, DELETED],
    "hf_tokenizer_name": ["", None, DELETED],
    "context_length": [5],
    "act_kwargs": [None, DELETED, {}],
    "approximate": [None, DELETED],
    # timm's
    "config": [None, DELETED, {}, {"a": 1}],
    "architecture": ["", None, DELETED],
    "pretrained_cfg": [None, DELETED, {}, {"a": 1}],
    "input_size": [None, DELETED, 5, 1],  # an oblong picture is prepared by nobody, which is said
    "crop_pct": [1, 0.5, None, DELETED],
    "interpolation": [None, DELETED],
}
NUMBERS = ("mean", "std", "image_mean", "image_std")  # one for all channels, or one of three: any number


def right_kind(path: tuple, value) -> bool:
    """Whether another answer is what the library gives too."""
    key = next(name for name in reversed(path) if isinstance(name, str))
    number = key in NUMBERS and type(value) in (int, float) and math.isfinite(value)
    return number or any(value is one or value == one and type(value) is type(one) for one in RIGHT.get(key, []))


MODELS = ["open_clip", "CLIP ViT", "CLIPSeg", "BERT", "DistilBERT", "SAM", *OTHERS]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]))
    return path


@pytest.mark.parametrize("model", MODELS)
def test_a_wrong_value_is_one_line_or_changes_nothing(model, vocabulary):
    configs = beside(model)[1]
    right, wrong, tried = outcome(model, configs, vocabulary), [], 0
    for path in places(configs):
        for value in WRONG:
            tried += 1
            try:
                found = outcome(model, changed(configs, path, value), vocabulary)
            except UserError as error:
                assert "\n" not in str(error), (path, value)
                continue
            except Exception as error:
                raise AssertionError(f"{path} = {value!r}: {type(error).__name__}: {error}") from error
            unread = found.get("tokenizer", {}).get("kind") == "none"  # whoever asks for a text is told in one line
            if {**found, **({"tokenizer": right["tokenizer"]} if unread else {})} == right:
                continue
            if not right_kind(path, value):
                wrong.append((path, value, [key for key in found if found[key] != right.get(key)]))
    assert tried > 500
    assert not wrong, f"{len(wrong)} of {tried}: " + "\n".join(map(str, wrong[:60]))
