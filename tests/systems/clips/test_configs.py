"""open_clip_config.json of a CLIPS: every key at an unusual value beside open_clip itself; CLIPA by the same class."""

import copy
import json
import warnings
from dataclasses import fields

import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from checkpoints_convert import build, export
from checkpoints_convert.load import load
from checkpoints_convert.proof.references.clips import TINY_TEXT, TINY_VISION
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import difference, redraw_all
from checkpoints_convert.reading.files import write_tensors
from checkpoints_convert.tables import SYSTEMS, clip_configs, clips
from checkpoints_convert.tables.system import detect
from minimodels.errors import UserError
from tests.sweep import open_clip_names
from tests.systems.clip.test_configs import REFUSED, SAME, UNBUILT, noise_picture, save
from tests.systems.clip.test_configs import TEXT as CLIP_TEXT
from tests.systems.clip.test_configs import VISION as CLIP_VISION

TINY = {"embed_dim": 20, "vision_cfg": {**TINY_VISION}, "text_cfg": {**TINY_TEXT}}
NORMS = [({"eps": 1e-6}, SAME), ({"eps": 1e-3}, REFUSED), ({}, REFUSED), ({"eps": 1e-6, "bias": True}, REFUSED)]
VISION = {
    **CLIP_VISION,
    "norm_kwargs": NORMS,
    "act_kwargs": [({}, SAME), ({"approximate": "none"}, SAME), ({"approximate": "tanh"}, REFUSED)],
    "no_ln_pre": [(False, REFUSED)],
    "pool_type": [("avg", SAME), ("tok", REFUSED), (None, REFUSED)],
    "final_ln_after_pool": [(False, REFUSED)],
    "patch_size": [(6, SAME), ([8, 4], REFUSED)],
}
TEXT = {
    **CLIP_TEXT,
    "norm_kwargs": NORMS,
    "act_kwargs": [({}, SAME), ({"approximate": "none"}, SAME), ({"approximate": "tanh"}, SAME)],
    "no_causal_mask": [(False, REFUSED)],
    "pool_type": [("last", SAME), ("argmax", REFUSED), ("first", REFUSED)],
    "hf_tokenizer_name": [("google/mt5-base", SAME), ("", SAME)],
}
MODEL = {
    "embed_dim": [(12, SAME)],
    "quick_gelu": [(False, SAME), (True, REFUSED)],
    "custom_text": [(False, SAME), (True, REFUSED)],
    "multimodal_cfg": [({"layers": 1}, REFUSED)],
    "init_logit_scale": [(1.0, SAME)],
    "init_logit_bias": [(-10, REFUSED)],
    "nonscalar_logit_scale": [(False, SAME), (True, REFUSED)],
    "output_dict": [(True, SAME)],
}
CASES = [
    pytest.param(part, key, value, verdict, id=f"{part or 'model_cfg'}-{key}={value}")
    for part, keys in (("vision_cfg", VISION), ("text_cfg", TEXT), ("", MODEL))
    for key, tried in keys.items()
    for value, verdict in tried
]
# Changed alone, these make a model that another system's names have: without its first norm no CLIP, with it no CLIPS.
NOT_BUILT = {*UNBUILT, "no_ln_pre", "norm_kwargs", "act_kwargs", "quick_gelu", "pool_type"}


def beside_the_library(theirs, folder) -> float:
    ours = load(folder, dtype=torch.float64)
    given = reference_named("CLIPS", "open_clip").inputs(ours.about["arguments"], torch.Generator().manual_seed(0), 2)
    with torch.inference_mode():
        expected = open_clip_names.answers(theirs.double().eval(), given["image"].double(), given["ids"])
        found = open_clip_names.answers(ours, given["image"].double(), given["ids"])
    return max(difference(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("tower, keys", [(CLIPVisionCfg, VISION), (CLIPTextCfg, TEXT)])
def test_every_key_of_the_library_is_tried_and_known(tower, keys):
    assert {field.name for field in fields(tower)} == keys.keys()
    if tower is CLIPVisionCfg:
        known = {*clips.VISION_LACKS, *clips.VISION_HAS, *clip_configs.VISION_PASSED, *clip_configs.VISION_READ}
    else:
        known = {*clips.TEXT_LACKS, *clips.TEXT_HAS, *clip_configs.TEXT_PASSED, *clip_configs.TEXT_READ}
        known |= clip_configs.TOKENIZER_KEYS
    assert known | set(clips.READ) == keys.keys()


@pytest.mark.parametrize("part, key, value, verdict", CASES)
def test_each_key_at_an_unusual_value(part, key, value, verdict, tmp_path):
    config = copy.deepcopy(TINY)
    (config[part] if part else config)[key] = value
    theirs = save(config, tmp_path, TINY if key in NOT_BUILT and verdict == REFUSED else None)
    if verdict == SAME:
        assert beside_the_library(theirs, tmp_path) <= 1e-10
        return
    with pytest.raises(UserError, match=f"{key}") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["no_ln_pre", "final_ln_after_pool", "pool_type", "no_causal_mask"])
def test_a_missing_key_has_the_librarys_default(key, tmp_path):
    """The library then builds another model of the same tensors: it is refused, and never read as a CLIPS."""
    part = "text_cfg" if key == "no_causal_mask" else "vision_cfg"
    config = copy.deepcopy(TINY)
    del config[part][key]
    save(config, tmp_path, TINY if key == "no_ln_pre" else config)
    with pytest.raises(UserError, match=f"^{key} in .* is missing, which means .*, expected"):
        load(tmp_path)


def test_missing_numbers_are_clipas(tmp_path):
    config = copy.deepcopy(TINY)
    for part in ("vision_cfg", "text_cfg"):
        del config[part]["norm_kwargs"]
    del config["text_cfg"]["act_kwargs"]
    assert beside_the_library(save(config, tmp_path), tmp_path) <= 1e-10
    found = load(tmp_path).about["arguments"]
    assert found["norm_eps"] == 1e-5 and found["tanh_gelu"] is False


@pytest.mark.parametrize("part", ["", "vision_cfg", "text_cfg"])
def test_a_key_that_open_clip_does_not_know(part, tmp_path):
    config = copy.deepcopy(TINY)
    save(config, tmp_path)
    (config[part] if part else config)["moon_phase"] = 0
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(UserError, match='"moon_phase" in .*model_cfg.* is no key of open_clip'):
        load(tmp_path)


@pytest.mark.parametrize("name", [name for name in open_clip.list_models() if "CLIPA" in name])
def test_every_clipa_that_open_clip_knows(name, tmp_path):
    outcome = open_clip_names.attempt(name, tmp_path)
    assert outcome.agrees, str(outcome)


@pytest.mark.parametrize("changes", [{}, {"interpolation": "bicubic"}, {"resize_mode": "shortest", "mean": 0.5}])
@pytest.mark.parametrize("size", [(64, 48), (3, 50)])
def test_pixels(changes, size, tmp_path):
    from open_clip.factory import merge_preprocess_dict
    from open_clip.transform import PreprocessCfg, image_transform_v2

    told = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "interpolation": "bilinear"}
    config = {**told, "resize_mode": "squash", **changes}
    save(TINY, tmp_path, **config)
    known = merge_preprocess_dict(PreprocessCfg(), config)
    theirs = image_transform_v2(PreprocessCfg(**{**known, "size": 24}), is_train=False)
    picture = noise_picture(*size)
    assert torch.equal(load(tmp_path).preprocess(picture), theirs(picture))
    if not changes:  # what is assumed where no config lies beside
        (tmp_path / "open_clip_config.json").unlink()
        with pytest.warns(UserWarning, match="Pooled are the mean of the patches and the last token"):
            alone = load(tmp_path, vision_heads=3, text_heads=4)
        assert torch.equal(alone.preprocess(picture), theirs(picture))


class TestAssumed:
    """Weights alone."""

    @staticmethod
    def tensors(width=1280, **text):
        vision = {**TINY_VISION, "image_size": 28, "patch_size": 14, "layers": 1, "width": width, "head_width": 16}
        made = open_clip.CLIP(8, vision, {**TINY_TEXT, "width": 512, "heads": 8, "layers": 1, **text})
        return redraw_all(made).state_dict()

    @pytest.mark.parametrize("context, said", [(80, "1e-06, tanh_gelu=True"), (32, "1e-05, tanh_gelu=False")])
    def test_what_is_assumed_is_said(self, context, said):
        tensors = self.tensors(context_length=context)
        assert detect(tensors, SYSTEMS) == ("clips", "open_clip")
        with pytest.warns(UserWarning) as caught:
            build(tensors, "clips")
        assert [str(one.message) for one in caught] == [
            "nothing beside these weights tells norm_eps and tanh_gelu and vision_heads and text_heads: as in the "
            f"released models, norm_eps={said}, vision_heads=16, text_heads=8 is assumed; say so where it is not. "
            "Pooled are the mean of the patches and the last token, as in every CLIPS and CLIPA"
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(tensors, "clips", vision_heads=16, text_heads=8, norm_eps=1e-6, tanh_gelu=True)

    def test_a_width_that_no_released_tower_has(self):
        with pytest.raises(UserError, match="tells vision_heads, and no width of 1296 .* tell it .vision_heads="):
            build(self.tensors(width=1296), "clips")

    def test_a_told_size_that_the_shapes_contradict(self):
        tensors, told = self.tensors(), {"vision_heads": 16, "text_heads": 8, "norm_eps": 1e-6, "tanh_gelu": True}
        with pytest.raises(UserError, match="text_width is told as 513, the shapes say 512"):
            build(tensors, "clips", **told, text_width=513)
        with pytest.raises(UserError, match="vision_depths is told as"):
            build(tensors, "clips", **told, vision_depths=(1, 2))


def test_there_and_back(tmp_path):
    """A genuine file, ours, and open_clip's names again: the same tensors, taken strictly by the library."""
    theirs = save(TINY, tmp_path)
    tensors = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    again = export(load(tmp_path), "open_clip")
    assert again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in tensors)
    open_clip.CLIP(**copy.deepcopy(TINY)).load_state_dict(again, strict=True)
    whole, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")  # strictly, from the same folder
    assert beside_the_library(whole, tmp_path) <= 1e-10


@pytest.mark.parametrize("name", ["visual.ln_pre.weight", "visual.attn_pool.query", "text.token_embedding.weight"])
def test_tensors_of_another_model(name, tmp_path):
    tensors = dict(save(TINY, tmp_path).state_dict()) | {name: torch.ones(48)}
    write_tensors(tmp_path / "open_clip_model.safetensors", tensors)
    with pytest.raises(UserError, match=name.replace(".", r"\.") + "|no_ln_pre") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
