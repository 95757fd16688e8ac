"""open_clip_config.json of a BiomedCLIP: every key at an unusual value beside open_clip itself, in both ages' names."""

import copy
import json
from dataclasses import fields

import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from checkpoints_convert import build as convert
from checkpoints_convert.load import load
from checkpoints_convert.proof.verify import difference
from checkpoints_convert.tables import SYSTEMS, biomedclip
from checkpoints_convert.tables.system import detect
from minimodels.errors import UserError
from tests.sweep.open_clip_names import answers
from tests.systems.biomedclip.small import CONFIG, PIECES, TEXT, build, pictures, pubmed, save  # noqa: F401 (a fixture)

SAME, REFUSED = "the library's answer", "refused"
# Keys of open_clip's own towers: with a tower of timm or transformers nothing reads them.
OTHERS = {"mlp_ratio": 2.5, "ls_init_value": 0.1, "act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 0.1}}
OTHERS |= {"block_type": "custom", "width": 96, "layers": 3, "final_ln_after_pool": True}
OTHERS |= dict.fromkeys(("qk_norm", "scaled_cosine_attn", "scale_heads"), True)
OTHERS |= dict.fromkeys(("scale_attn_inner", "scale_attn", "scale_fc"), True)
VISION = {
    **{key: [(value, SAME)] for key, value in OTHERS.items()},
    "head_width": [(8, SAME)],
    "patch_size": [(6, SAME)],
    "image_size": [([160, 160], SAME), (96, REFUSED), ([160, 96], REFUSED)],
    "patch_dropout": [(0.5, SAME)],
    "attentional_pool": [(True, SAME)],
    "attn_pooler_queries": [(3, SAME)],
    "attn_pooler_heads": [(3, SAME)],
    "no_ln_pre": [(True, SAME)],
    "pos_embed_type": [("sin_cos_2d", SAME)],
    "pool_type": [("avg", SAME)],
    "output_tokens": [(True, SAME)],
    "timm_model_name": [("vit_base_patch16_siglip_224", REFUSED), ("convnext_base", REFUSED)],
    "timm_model_pretrained": [(True, SAME)],
    "timm_pool": [("token", SAME), ("avg", REFUSED), ("abs_attn", REFUSED)],
    "timm_proj": [("mlp", REFUSED), ("none", REFUSED), ("", REFUSED)],
    "timm_proj_bias": [(False, SAME), (True, REFUSED)],
    "timm_drop": [(0.3, SAME)],
    "timm_drop_path": [(0.3, SAME)],
}
TEXT_KEYS = {
    **{key: [(value, SAME)] for key, value in OTHERS.items()},
    "context_length": [(5, SAME), (40, SAME), (41, REFUSED)],
    "vocab_size": [(90, SAME)],
    "heads": [(1, SAME)],
    "hf_tokenizer_name": [("somebody/else", SAME)],  # the words that lie beside are read, by open_clip too
    "tokenizer_mode": [("clips", SAME)],
    "tokenizer_kwargs": [({"strip_sep_token": True}, SAME), ({"clean": "whitespace"}, SAME)],
    "embed_cls": [(True, SAME)],
    "pad_id": [(3, SAME)],
    "eos_id": [(3, SAME)],
    "no_causal_mask": [(True, SAME)],
    "pool_type": [("last", SAME)],
    "proj_bias": [(True, SAME)],
    "proj_type": [("none", SAME)],
    "output_tokens": [(False, SAME), (True, REFUSED)],
    "hf_model_name": [(biomedclip.PUBMED[1], SAME), ("roberta-base", REFUSED)],
    "hf_model_pretrained": [(False, SAME)],
    "hf_proj_type": [("linear", REFUSED)],
    "hf_pooler_type": [("mean_pooler", REFUSED), ("cls_pooler", REFUSED), ("max_pooler", REFUSED)],
}
MODEL = {
    "embed_dim": [(7, SAME)],
    "quick_gelu": [(True, SAME)],  # neither library's tower has it
    "custom_text": [(False, SAME), (True, SAME)],  # with a text tower of transformers it is set all the same
    "multimodal_cfg": [({"layers": 1}, REFUSED)],
    "init_logit_scale": [(1.0, SAME)],
    "init_logit_bias": [(-10, REFUSED)],
    "nonscalar_logit_scale": [(False, SAME), (True, REFUSED)],
    "output_dict": [(True, SAME)],
}
CASES = [
    pytest.param(part, key, value, verdict, id=f"{part or 'model_cfg'}-{key}={value}")
    for part, keys in (("vision_cfg", VISION), ("text_cfg", TEXT_KEYS), ("", MODEL))
    for key, tried in keys.items()
    for value, verdict in tried
]
pytestmark = pytest.mark.usefixtures("pubmed")


def beside_the_library(theirs, folder) -> float:
    ours = load(folder, dtype=torch.float64)
    ids = torch.randint(1, len(PIECES), (3, 11), generator=torch.Generator().manual_seed(1))
    ids[1, 7:], ids[2, 1:] = 0, 0
    with torch.inference_mode():
        expected = answers(theirs.double().eval(), pictures(160, 160), ids)
        found = answers(ours, pictures(160, 160), ids)
    return max(difference(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("tower, keys", [(CLIPVisionCfg, VISION), (CLIPTextCfg, TEXT_KEYS)])
def test_every_key_of_the_library_is_tried(tower, keys):
    assert {field.name for field in fields(tower)} == keys.keys()


@pytest.mark.parametrize("part, key, value, verdict", CASES)
def test_each_key_at_an_unusual_value(part, key, value, verdict, tmp_path):
    config = copy.deepcopy(CONFIG)
    (config[part] if part else config)[key] = value
    theirs = save(config, tmp_path, CONFIG if verdict == REFUSED or key == "timm_model_pretrained" else None)
    if verdict == SAME:
        assert beside_the_library(theirs, tmp_path) <= 1e-10
        return
    named = "a picture of 96 x 96" if (key, value) == ("image_size", 96) else f"^{key} in"
    with pytest.raises(UserError, match=named) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "part, key, told",
    [
        ("vision_cfg", "timm_model_name", "null"),
        ("vision_cfg", "timm_pool", '"avg"'),
        ("text_cfg", "hf_model_name", "null"),
        ("text_cfg", "hf_pooler_type", '"mean_pooler"'),
    ],
)
def test_a_missing_key_has_the_librarys_default(part, key, told, tmp_path):
    config = copy.deepcopy(CONFIG)
    del config[part][key]
    save(config, tmp_path, CONFIG)
    with pytest.raises(UserError, match=f"^{key} in .* is missing, which means {told}, expected"):
        load(tmp_path)


def test_the_names_before_november_2023(tmp_path):
    old = {"hf_proj_type": "proj", "hf_pooler_type": "pooler_type"}
    config = {**CONFIG, "text_cfg": {old.get(key, key): value for key, value in TEXT.items()}}
    assert beside_the_library(save(config, tmp_path, CONFIG), tmp_path) <= 1e-10
    for key, value in (("proj", "linear"), ("pooler_type", "cls_pooler")):
        changed = {**config, "text_cfg": {**config["text_cfg"], key: value}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": changed}))
        with pytest.raises(UserError, match=f'^{key} in .* is "{value}", expected'):
            load(tmp_path)


@pytest.mark.parametrize("part", ["", "vision_cfg", "text_cfg"])
def test_a_key_that_open_clip_does_not_know(part, tmp_path):
    config = copy.deepcopy(CONFIG)
    save(config, tmp_path)
    (config[part] if part else config)["moon_phase"] = 0
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(UserError, match='"moon_phase" in .*model_cfg.* is no key of open_clip'):
        load(tmp_path)


# ---------------------------------------------------------------- weights alone


def test_what_is_assumed_is_said():
    tensors = build({**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "timm_model_name": "test_vit"}}).state_dict()
    assert detect(tensors, SYSTEMS) == ("biomedclip", "open_clip")
    with pytest.raises(UserError, match="tells num_heads, and no width of 48"):
        convert(tensors, "biomedclip", vision_heads=2)
    with pytest.warns(UserWarning, match="num_heads=2 is assumed"):
        convert(tensors, "biomedclip", text_heads=12)
    with pytest.raises(UserError, match="embed_dim is told as 25, the shapes say 24"):
        convert(tensors, "biomedclip", vision_heads=2, text_heads=12, embed_dim=25)
    with pytest.raises(UserError, match="biomedclip cannot be told 'norm_eps'"):
        convert(tensors, "biomedclip", norm_eps=1e-5)


def test_the_first_upload_had_berts_pooler():
    """It read the texts through it; without it the same tensors would give another answer."""
    tensors = dict(build(CONFIG).state_dict())
    tensors |= {"text.transformer.pooler.dense.weight": torch.ones(48, 48)}
    with pytest.raises(UserError, match="BERT's own pooler, which read the texts in the first upload") as caught:
        convert(tensors, "biomedclip", vision_heads=2, text_heads=12)
    assert "\n" not in str(caught.value)


def test_a_roberta_has_berts_names():
    name, tensors = "text.transformer.embeddings.token_type_embeddings.weight", dict(build(CONFIG).state_dict())
    with pytest.raises(UserError, match="1 types of tokens, expected BERT's 2: is it a RoBERTa"):
        convert({**tensors, name: tensors[name][:1]}, "biomedclip", vision_heads=2, text_heads=12)


def test_the_counter_of_the_published_file_is_dropped():
    name, tensors = "text.transformer.embeddings.position_ids", dict(build(CONFIG).state_dict())
    model = convert({**tensors, name: torch.arange(40)[None]}, "biomedclip", vision_heads=2, text_heads=12)
    plain = convert(tensors, "biomedclip", vision_heads=2, text_heads=12)
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in model.state_dict().items())
