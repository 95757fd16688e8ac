"""open_clip_config.json: every key at an unusual value beside open_clip itself; what is assumed where no config is."""

import copy
import json
import warnings
from dataclasses import fields

import numpy as np
import open_clip
import pytest
import torch
from open_clip.factory import merge_preprocess_dict
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.push_to_hf_hub import save_for_hf
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from checkpoints_convert import build
from checkpoints_convert.load import load
from checkpoints_convert.proof.references.clip import TINY_RESNET, TINY_TEXT, TINY_VIT
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import difference, redraw_all
from checkpoints_convert.reading.files import write_tensors
from checkpoints_convert.tables import clip, clip_configs
from minimodels.errors import UserError
from tests.sweep.open_clip_names import NO_TOKENIZER, answers

SAME, REFUSED = "the library's answer", "refused"
TINY = {"embed_dim": 20, "vision_cfg": {**TINY_VIT}, "text_cfg": {**TINY_TEXT}}
BLOCKS = {
    "ls_init_value": [(0.1, REFUSED), (0, REFUSED)],
    "act_kwargs": [({}, SAME), ({"approximate": "tanh"}, REFUSED)],
    "norm_kwargs": [({}, SAME), ({"eps": 1e-5}, SAME), ({"eps": 1e-3}, REFUSED)],
    "block_type": [("default", SAME), ("custom", REFUSED)],
    **{key: [(False, SAME)] for key in ("scaled_cosine_attn", "scale_heads", "scale_fc")},
    **{key: [(False, SAME), (True, REFUSED)] for key in ("qk_norm", "scale_attn_inner", "scale_attn")},
    "output_tokens": [(False, SAME), (True, REFUSED)],
    "mlp_ratio": [(2.5, SAME), (3, SAME), (4.9231, SAME), (2.49, SAME)],  # cut, not rounded
}
VISION = {
    **BLOCKS,
    "layers": [(1, SAME), (4, SAME)],
    "width": [(96, SAME)],
    "head_width": [(8, SAME), (24, SAME), (48, SAME), (20, SAME)],  # of 48: 20 makes two heads, as the library rounds
    "patch_size": [(6, SAME), ([8, 8], SAME), ([8, 4], REFUSED)],
    "image_size": [(32, SAME), ([24, 24], SAME), ([24, 32], REFUSED)],
    "patch_dropout": [(0.5, SAME)],
    "attentional_pool": [(False, SAME), (True, REFUSED)],
    "attn_pooler_queries": [(3, SAME)],
    "attn_pooler_heads": [(3, SAME)],
    "no_ln_pre": [(False, SAME), (True, REFUSED)],
    "pos_embed_type": [("learnable", SAME), ("sin_cos_2d", SAME)],
    "final_ln_after_pool": [(True, SAME), (False, SAME)],
    "pool_type": [("tok", SAME), ("avg", REFUSED)],
    "timm_model_name": [("vit_tiny_patch16_224", REFUSED)],
    "timm_model_pretrained": [(True, SAME)],
    "timm_pool": [("token", SAME)],
    "timm_proj": [("mlp", SAME)],
    "timm_proj_bias": [(True, SAME)],
    "timm_drop": [(0.3, SAME)],
    "timm_drop_path": [(0.3, SAME)],
}
TEXT = {
    **BLOCKS,
    "context_length": [(5, SAME), (30, SAME)],
    "vocab_size": [(90, SAME)],
    "hf_tokenizer_name": [("google/mt5-base", SAME)],
    "tokenizer_mode": [("clips", SAME)],
    "tokenizer_kwargs": [({"clean": "canonicalize"}, SAME)],
    "width": [(40, SAME)],
    "heads": [(1, SAME), (8, SAME)],
    "layers": [(1, SAME)],
    "embed_cls": [(False, SAME), (True, REFUSED)],
    "pad_id": [(3, SAME)],
    "eos_id": [(3, SAME)],
    "no_causal_mask": [(False, SAME), (True, REFUSED)],
    "final_ln_after_pool": [(True, SAME)],
    "pool_type": [("argmax", SAME), ("last", REFUSED), ("first", REFUSED), ("eos", REFUSED)],
    "proj_bias": [(False, SAME), (True, REFUSED)],
    "proj_type": [("linear", SAME), ("none", REFUSED)],
    "hf_model_name": [("roberta-base", REFUSED)],
    "hf_model_pretrained": [(False, SAME)],
    "hf_proj_type": [("linear", SAME)],
    "hf_pooler_type": [("cls_pooler", SAME)],
}
MODEL = {
    "embed_dim": [(12, SAME)],
    "quick_gelu": [(True, SAME), (False, SAME)],
    "custom_text": [(False, SAME), (True, REFUSED)],
    "multimodal_cfg": [({"layers": 1}, REFUSED)],
    "init_logit_scale": [(1.0, SAME)],
    "init_logit_bias": [(-10, REFUSED)],
    "nonscalar_logit_scale": [(False, SAME), (True, REFUSED)],
    "output_dict": [(True, SAME)],
}
UNBUILT = {
    "attentional_pool",
    "timm_model_name",
    "hf_model_name",
    "multimodal_cfg",
    "custom_text",
}  # ours refuses by the config alone
CASES = [
    pytest.param(part, key, value, verdict, id=f"{part or 'model_cfg'}-{key}={value}")
    for part, keys in (("vision_cfg", VISION), ("text_cfg", TEXT), ("", MODEL))
    for key, tried in keys.items()
    for value, verdict in tried
]


def save(config, folder, built=None, **preprocess):
    """The library's model of a config, redrawn and saved as it is pushed to the hub."""
    built = copy.deepcopy(config if built is None else built)
    built.pop("custom_text", None)
    theirs = redraw_all(open_clip.CLIP(**built))
    theirs.visual.image_mean = theirs.visual.image_std = None
    save_for_hf(theirs, NO_TOKENIZER, config, str(folder), safe_serialization=True)
    written = folder / "open_clip_config.json"
    written.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return theirs


def beside_the_library(theirs, folder) -> float:
    ours = load(folder, dtype=torch.float64)
    told = ours.about["arguments"]
    given = reference_named("CLIP ViT", "open_clip").inputs(told, torch.Generator().manual_seed(0), 2)
    with torch.inference_mode():
        expected = answers(theirs.double().eval(), given["image"].double(), given["ids"])
        found = answers(ours, given["image"].double(), given["ids"])
    return max(difference(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("tower, keys", [(CLIPVisionCfg, VISION), (CLIPTextCfg, TEXT)])
def test_every_key_of_the_library_is_tried_and_known(tower, keys):
    assert {field.name for field in fields(tower)} == keys.keys()
    passed = clip_configs.VISION_PASSED if tower is CLIPVisionCfg else clip_configs.TEXT_PASSED
    read = clip_configs.VISION_READ if tower is CLIPVisionCfg else clip_configs.TEXT_READ | clip_configs.TOKENIZER_KEYS
    lacks = clip_configs.VISION_LACKS if tower is CLIPVisionCfg else clip_configs.TEXT_LACKS
    assert passed | read | lacks.keys() == keys.keys()


@pytest.mark.parametrize("part, key, value, verdict", CASES)
def test_each_key_at_an_unusual_value(part, key, value, verdict, tmp_path):
    config = copy.deepcopy(TINY)
    (config[part] if part else config)[key] = value
    theirs = save(config, tmp_path, TINY if key in UNBUILT else None)
    if verdict == SAME:
        assert beside_the_library(theirs, tmp_path) <= 1e-10
        return
    named = "pool_type" if key == "no_ln_pre" else key  # its tensors are a CLIPS', which pools otherwise
    with pytest.raises(UserError, match=f"^{named} in .*") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"head_width": 16}, {"head_width": 64}, {"layers": [1, 1, 2, 1]}, {"width": 12}])
def test_resnets(changes, tmp_path):
    config = {**TINY, "vision_cfg": {**TINY_RESNET, "layers": [1, 2, 1, 1], "patch_size": None, **changes}}
    assert beside_the_library(save(config, tmp_path), tmp_path) <= 1e-10


def test_missing_keys_have_the_librarys_defaults(tmp_path):
    """Towers that say nothing are ViT-B/16 and twelve blocks; with other weights the config is not theirs."""
    told = clip.from_config(settings({"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}}))
    vision, text = CLIPVisionCfg(), CLIPTextCfg()
    assert (told["vision_width"], told["vision_depth"], told["patch_size"]) == (vision.width, vision.layers, 16)
    assert told["image_size"] == vision.image_size and told["vision_heads"] == vision.width // vision.head_width
    assert told["vision_mlp_dim"] == 4 * vision.width and told["text_mlp_dim"] == 4 * text.width
    assert (told["text_width"], told["text_depth"], told["text_heads"]) == (text.width, text.layers, text.heads)
    assert (told["context_length"], told["vocab_size"]) == (text.context_length, text.vocab_size)
    assert told["quick_gelu"] is False
    config = copy.deepcopy(TINY)
    save(config, tmp_path)
    for tower, key in (("vision_cfg", "layers"), ("text_cfg", "context_length"), ("vision_cfg", "patch_size")):
        changed = copy.deepcopy(config)
        del changed[tower][key]
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": changed}))
        with pytest.raises(UserError, match="is told as .*, the shapes say .* belong to another model"):
            load(tmp_path)


def settings(config):
    from minimodels.errors.untrusted import Settings

    return Settings(config, "open_clip_config.json")


@pytest.mark.parametrize("part", ["", "vision_cfg", "text_cfg"])
def test_a_key_that_open_clip_does_not_know(part, tmp_path):
    config = copy.deepcopy(TINY)
    save(config, tmp_path)
    (config[part] if part else config)["moon_phase"] = 0
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(UserError, match='"moon_phase" in .*model_cfg.* is no key of open_clip'):
        load(tmp_path)


# ---------------------------------------------------------------- two configs in one folder


def test_a_folder_of_two_libraries(tmp_path):
    """open_clip's weights are read with open_clip's config, transformers' with transformers', pictures likewise."""
    theirs = save(TINY, tmp_path)
    other = {"model_type": "clip", "vision_config": {"num_attention_heads": 1}}
    (tmp_path / "config.json").write_text(json.dumps(other))
    pixels = {"image_processor_type": "CLIPImageProcessor", "image_mean": [0.1, 0.2, 0.3]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels))
    assert beside_the_library(theirs, tmp_path) <= 1e-10
    assert type(load(tmp_path).preprocess).__name__ == "CLIPPreprocess"
    folder = tmp_path / "transformers"
    reference = reference_named("CLIP ViT", "transformers")
    redraw_all(reference.build(**reference.tiny)).save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 5}}))
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    loaded = load(folder)
    assert loaded.about["arguments"]["vision_heads"] == 3 and loaded.preprocess.mean == (0.1, 0.2, 0.3)


# ---------------------------------------------------------------- pictures


def noise_picture(width: int, height: int) -> Image.Image:
    pixels = np.random.RandomState(width).randint(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PREPROCESS = [
    {},
    {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    {"mean": 0.5, "std": 0.25},
    {"mean": [], "std": 0},
    {"interpolation": "bilinear"},
    {"interpolation": "random"},
    {"resize_mode": "squash"},
    {"resize_mode": "squash", "interpolation": "bilinear"},
    {"size": 77, "fill_color": 9, "mode": "RGB"},
    {"size": [224, 224], "resize_mode": "shortest"},
]


@pytest.mark.parametrize("config", PREPROCESS, ids=str)
@pytest.mark.parametrize("size", [(64, 48), (24, 24), (100, 333), (3, 50)])
def test_pixels_of_every_way_to_prepare_them(config, size, tmp_path):
    save(TINY, tmp_path, **config)
    known = merge_preprocess_dict(PreprocessCfg(), config)
    theirs = image_transform_v2(PreprocessCfg(**{**known, "size": 24}), is_train=False)
    picture = noise_picture(*size)
    assert torch.equal(load(tmp_path).preprocess(picture), theirs(picture))


@pytest.mark.parametrize(
    "config", [{"resize_mode": "longest"}, {"mode": "L"}, {"interpolation": "nearest"}, {"mean": [1, 2]}], ids=str
)
def test_pixels_that_are_not_ours(config, tmp_path):
    save(TINY, tmp_path, **config)
    with pytest.raises(UserError, match=f"^{next(iter(config))} in preprocess_cfg in "):
        load(tmp_path)


# ---------------------------------------------------------------- texts


class TestTokenizers:
    """Only OpenAI's is here. With another one a tower still converts; who asks it for a text is told."""

    LARGE = {**TINY, "text_cfg": {**TINY_TEXT, "vocab_size": 49408, "width": 8}}

    def test_openais_own(self, tmp_path):
        save(self.LARGE, tmp_path)
        assert load(tmp_path).tokenize("a cat")[0, :4].tolist() == [49406, 320, 2368, 49407]

    @pytest.mark.parametrize("vocab_size", [70, 49407, 50_000])
    def test_another_vocabulary(self, vocab_size, tmp_path):
        theirs = save({**TINY, "text_cfg": {**TINY_TEXT, "vocab_size": vocab_size}}, tmp_path)
        assert beside_the_library(theirs, tmp_path) <= 1e-10
        for ask in (load(tmp_path).tokenize, load(tmp_path).tokenize.encode):
            with pytest.raises(UserError, match=f"texts cannot be read: it knows {vocab_size:,} ids, .* has 49,408"):
                ask("a cat")

    @pytest.mark.parametrize(
        "keys, words",
        [
            ({"hf_tokenizer_name": "facebook/xlm-v-base"}, 'their tokenizer is "facebook/xlm-v-base"'),
            ({"hf_tokenizer_name": "somebody/openai/clip-vit-base-patch32"}, "their tokenizer is"),
            ({"tokenizer_kwargs": {"clean": "canonicalize"}}, "tokenizer_kwargs in .* is an object with 1 key"),
            ({"tokenizer_mode": "clips"}, "tokenizer_mode in .* is \"clips\""),
            ({"hf_tokenizer_name": "openai/clip-vit-large-patch14"}, None),
            ({"tokenizer_kwargs": {}}, None),
        ],
    )  # fmt: skip
    def test_another_tokenizer_of_the_same_size(self, keys, words, tmp_path):
        config = {**self.LARGE, "text_cfg": {**self.LARGE["text_cfg"], **keys}}
        save(config, tmp_path)
        model = load(tmp_path)
        if words is None:
            assert model.tokenize("a cat")[0, 1] == 320
            return
        with pytest.raises(UserError, match=words):
            model.tokenize("a cat")

    @pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
    def test_a_vocabulary_beside(self, name, tmp_path):
        """transformers' files, new and old: the vocabulary is OpenAI's, in its order, or there is no tokenizer."""
        reference = reference_named("CLIP ViT", "transformers")
        sizes = {**reference.tiny, "text": {**reference.tiny["text"], "vocab_size": 49408, "hidden_size": 8}}
        redraw_all(reference.build(**sizes)).save_pretrained(tmp_path)
        ids = dict(clip_configs.BytePairTokenizer.clip().ids)
        for right in (True, False):
            if not right:
                ids["cat</w>"], ids["dog</w>"] = ids["dog</w>"], ids["cat</w>"]
            content = ids if name == "vocab.json" else {"model": {"type": "BPE", "vocab": ids}}
            (tmp_path / name).write_text(json.dumps(content))
            if right:
                assert load(tmp_path).tokenize("a cat")[0, 1] == 320
        with pytest.raises(UserError, match=f"{name} beside the weights has another vocabulary"):
            load(tmp_path).tokenize("a cat")


# ---------------------------------------------------------------- without a config


class TestAssumed:
    """Weights alone: what no shape tells is told, or assumed aloud where all released towers of the width agree."""

    def test_every_released_width_has_its_heads_in_the_tables(self):
        seen = {"vision": {}, "resnet": {}, "text": {}}
        for name in open_clip.list_models():
            config = open_clip.get_model_config(name)
            vision, text = config["vision_cfg"], config["text_cfg"]
            if "layers" in vision and "width" in vision and "timm_model_name" not in vision:
                resnet, width = isinstance(vision["layers"], list), vision["width"]
                heads = width * (32 if resnet else 1) // vision.get("head_width", 64)
                assert seen["resnet" if resnet else "vision"].setdefault(width, heads) == heads, name
            if "heads" in text and "timm_model_name" not in vision:
                assert seen["text"].setdefault(text["width"], text["heads"]) == text["heads"], name
        assert seen == {"vision": clip.VISION_HEADS, "resnet": clip.RESNET_HEADS, "text": clip.TEXT_HEADS}

    @staticmethod
    def tensors(width=1280, text_width=512, **changes):
        vision = {"image_size": 28, "patch_size": 14, "layers": 1, "width": width, "head_width": width // 16}
        text = {**TINY_TEXT, "width": text_width, "heads": 8, "layers": 1}
        theirs = redraw_all(open_clip.CLIP(8, {**vision, **changes}, text))
        return theirs, theirs.state_dict()

    def test_what_is_assumed_is_said(self, tmp_path):
        theirs, tensors = self.tensors()
        with pytest.warns(UserWarning) as caught:
            model = build(tensors, "clip")
        assert [str(one.message) for one in caught] == [
            "nothing beside these weights tells vision_heads and text_heads and quick_gelu: as in the released models, "
            "vision_heads=16, text_heads=8, quick_gelu=True is assumed; say so where it is not. QuickGELU (OpenAI's) "
            "is assumed, say quick_gelu=False for GELU (most of open_clip's)"
        ]
        assert model.about["arguments"]["vision_heads"] == 16
        write_tensors(tmp_path / "open_clip_model.safetensors", tensors)
        with pytest.warns(UserWarning, match="tells vision_heads and text_heads:"):
            assert load(tmp_path, quick_gelu=False).about["arguments"]["quick_gelu"] is False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(tensors, "clip", vision_heads=16, text_heads=8, quick_gelu=False)

    def test_a_width_that_no_released_tower_has(self):
        _, tensors = self.tensors(width=1296, head_width=81)
        with pytest.raises(UserError, match="tells vision_heads, and no width of 1296 .* tell it .vision_heads="):
            build(tensors, "clip")
        assert build(tensors, "clip", vision_heads=16).about["arguments"]["vision_heads"] == 16
        _, tensors = self.tensors(text_width=520)
        with pytest.raises(UserError, match="tells text_heads, and no width of 520 .* tell it .text_heads="):
            build(tensors, "clip")

    def test_openais_own_code_has_heads_of_64_whatever_the_width(self):
        theirs, tensors = self.tensors(width=192, head_width=64, text_width=512)
        scalars = {name: torch.tensor(1) for name in clip.SCALARS}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = build({**tensors, **scalars}, "clip")
        assert model.about["arguments"]["vision_heads"] == 3 and model.about["arguments"]["quick_gelu"] is True

    def test_transformers_names_alone_tell_no_activation(self):
        reference = reference_named("CLIP ViT", "transformers")
        tensors = reference.build(**reference.tiny).state_dict()
        with pytest.warns(UserWarning, match="tells quick_gelu: .* quick_gelu=True is assumed"):
            build(tensors, "clip", vision_heads=3, text_heads=4)

    def test_a_told_size_that_the_shapes_contradict(self):
        _, tensors = self.tensors()
        told = {"vision_heads": 16, "text_heads": 8, "quick_gelu": True}
        sizes = build(tensors, "clip", **told).about["arguments"]
        for key in clip.SIZES:
            if key in sizes:
                build(tensors, "clip", **told, **{key: sizes[key]})
            wrong = (1, 2) if key == "vision_depths" else sizes[key] + 1
            with pytest.raises(UserError, match=f"{key} is told as .*, the shapes say"):
                build(tensors, "clip", **told, **{key: wrong})


def test_a_model_that_no_table_knows_is_told_by_its_config(tmp_path):
    """No table has the names of a tower of timm: the config beside says what it is; without one, the names are told."""
    names = ("logit_scale", *(f"visual.trunk.head.{name}" for name in ("norm", "weight", "bias")))
    tensors = {name: torch.zeros(2) for name in names}
    for name in ("open_clip_model.safetensors", "model.safetensors"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        write_tensors(folder / name, tensors)
        with pytest.raises(UserError, match="belong to no model we know"):
            load(folder)
        config = {"model_cfg": {"embed_dim": 4, "vision_cfg": {"timm_model_name": "convnext_base"}}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        with pytest.raises(
            UserError, match='timm_model_name .* is "convnext_base", .*: our CLIP has no image tower of'
        ):
            load(folder)
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 4}}))
        with pytest.raises(UserError, match="belong to no model we know"):
            load(folder)
