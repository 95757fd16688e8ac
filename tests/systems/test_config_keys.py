"""Every key of transformers' configs at an unusual value, beside the library itself: it agrees, or is refused.

The library builds a model of the changed config and saves it; ours is loaded from that folder, so that what the config
says is all it knows. That every key of the config classes is tried here is a test of its own.
"""

import json

import pytest
import torch

from checkpoints_convert.load import load
from checkpoints_convert.proof.references import Sizes
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import difference, redraw_all
from minimodels.errors import UserError

SAME, REFUSED = "the library's answer", "refused"
TRAINING = {
    "attention_dropout": [(0.4, SAME)],
    "initializer_range": [(0.3, SAME)],
    "initializer_factor": [(3.0, SAME)],
}
VISION = {
    **TRAINING,
    "hidden_size": [(60, SAME)],
    "intermediate_size": [(50, SAME)],
    "projection_dim": [(7, SAME)],  # of a tower alone; the whole model has its own
    "num_hidden_layers": [(4, SAME)],
    "num_attention_heads": [(6, SAME), (1, SAME)],
    "num_channels": [(1, REFUSED)],
    "image_size": [(40, SAME)],
    "patch_size": [(4, SAME), (12, SAME)],
    "hidden_act": [("gelu", REFUSED), ("gelu_new", REFUSED), ("gelu_pytorch_tanh", REFUSED), ("relu", REFUSED)],
    "layer_norm_eps": [(1e-3, REFUSED), (1e-6, REFUSED)],
}
TEXT = {
    **{key: VISION[key] for key in (*TRAINING, "hidden_act", "layer_norm_eps", "intermediate_size")},
    "hidden_size": [(20, SAME)],
    "projection_dim": [(7, SAME)],
    "num_hidden_layers": [(1, SAME)],
    "num_attention_heads": [(2, SAME)],
    "vocab_size": [(90, SAME)],
    "max_position_embeddings": [(6, SAME)],
    "pad_token_id": [(5, SAME), (59, SAME)],
    "bos_token_id": [(7, SAME)],
    "eos_token_id": [(59, SAME), (2, SAME), (5, REFUSED), (58, REFUSED)],
}
CLIPSEG_VISION = {**VISION, "patch_size": [(4, SAME)], "image_size": [(40, SAME)]}
CLIP = {"projection_dim": [(9, SAME)], "logit_scale_init_value": [(1.0, SAME)], "initializer_factor": [(3.0, SAME)]}
DECODER = {
    "extract_layers": [([0, 2], SAME), ([2], SAME), ([0, 1, 2], SAME), ([2, 0], REFUSED)],
    "reduce_dim": [(36, SAME)],
    "decoder_num_attention_heads": [(1, SAME), (4, SAME)],
    "decoder_attention_dropout": [(0.4, SAME)],
    "decoder_hidden_act": [("gelu", SAME)],  # the library sets ReLU whatever it says
    "decoder_intermediate_size": [(33, SAME)],
    "conditional_layer": [(1, REFUSED)],
    "use_complex_transposed_convolution": [(True, REFUSED)],  # the library's halves only make up patches of 16
}
BERT = {
    "vocab_size": [(70, SAME)],
    "hidden_size": [(48, SAME)],
    "num_hidden_layers": [(1, SAME)],
    "num_attention_heads": [(6, SAME), (1, SAME)],
    "intermediate_size": [(33, SAME)],
    "hidden_act": [("gelu_new", REFUSED), ("relu", REFUSED), ("gelu_pytorch_tanh", REFUSED)],
    "hidden_dropout_prob": [(0.4, SAME)],
    "attention_probs_dropout_prob": [(0.4, SAME)],
    "max_position_embeddings": [(30, SAME)],
    "type_vocab_size": [(4, SAME)],
    "initializer_range": [(0.3, SAME)],
    "layer_norm_eps": [(1e-3, SAME), (1e-6, SAME)],
    "pad_token_id": [(0, SAME), (3, SAME)],
    "use_cache": [(False, SAME)],
    "classifier_dropout": [(0.4, SAME)],
    "is_decoder": [(True, REFUSED)],
    "bos_token_id": [(4, SAME)],
    "eos_token_id": [(4, SAME)],
    "tie_word_embeddings": [(False, SAME)],
    "chunk_size_feed_forward": [(1, SAME)],
}
DISTIL = {
    "vocab_size": [(70, SAME)],
    "max_position_embeddings": [(30, SAME)],
    "sinusoidal_pos_embds": [(True, SAME)],  # they are stored as learned ones are
    "n_layers": [(1, SAME)],
    "n_heads": [(6, SAME), (1, SAME)],
    "dim": [(48, SAME)],
    "hidden_dim": [(33, SAME)],
    "dropout": [(0.4, SAME)],
    "attention_dropout": [(0.4, SAME)],
    "activation": [("relu", REFUSED), ("gelu_new", REFUSED)],
    "initializer_range": [(0.3, SAME)],
    "qa_dropout": [(0.4, SAME)],
    "seq_classif_dropout": [(0.4, SAME)],
    "pad_token_id": [(0, SAME), (3, SAME)],
    "eos_token_id": [(4, SAME)],
    "bos_token_id": [(4, SAME)],
    "tie_word_embeddings": [(False, SAME)],
    # No keys of its class: one that its code does not read, and BERT's names for its own.
    "layer_norm_eps": [(1e-3, SAME)],
    "num_attention_heads": [(6, SAME)],
}
SAM_VISION = {
    **{key: TRAINING[key] for key in ("attention_dropout", "initializer_range")},
    "hidden_size": [(36, SAME)],
    "output_channels": [],  # with the other parts' widths, below
    "num_hidden_layers": [(2, SAME)],
    "num_attention_heads": [(4, SAME), (1, SAME)],
    "num_channels": [(1, REFUSED)],
    "image_size": [(48, SAME)],
    "patch_size": [(4, SAME)],
    "hidden_act": [("relu", REFUSED)],
    "layer_norm_eps": [(1e-3, REFUSED)],
    "qkv_bias": [(False, REFUSED)],
    "mlp_ratio": [(2.0, SAME)],  # `mlp_dim` is told
    "use_abs_pos": [(False, REFUSED)],
    "use_rel_pos": [(False, REFUSED)],
    "window_size": [(2, SAME), (4, SAME), (5, SAME), (0, SAME)],
    "global_attn_indexes": [([0, 2], SAME), ([], SAME), ([0, 1, 2], SAME)],
    "num_pos_feats": [],
    "mlp_dim": [(50, SAME), (None, SAME)],
}
SAM_PROMPT = {
    "hidden_size": [(24, SAME)],
    "image_size": [(80, REFUSED)],  # it scales the points
    "patch_size": [(4, REFUSED)],
    "mask_input_channels": [(12, SAME)],
    "num_point_embeddings": [(3, REFUSED), (5, REFUSED)],
    "hidden_act": [("relu", REFUSED)],
    "layer_norm_eps": [(1e-3, REFUSED)],
}
SAM_DECODER = {
    "hidden_size": [(24, REFUSED)],
    "hidden_act": [("gelu", REFUSED)],
    "mlp_dim": [(50, SAME)],
    "num_hidden_layers": [(1, SAME), (3, SAME)],
    "num_attention_heads": [(1, SAME), (2, SAME)],
    "attention_downsample_rate": [(1, REFUSED), (4, REFUSED)],
    "num_multimask_outputs": [(2, SAME)],
    "iou_head_depth": [(2, REFUSED), (4, REFUSED)],
    "iou_head_hidden_dim": [(9, SAME)],
    "layer_norm_eps": [(1e-3, SAME), (1e-5, SAME)],
}
SAM = {"initializer_range": [(0.3, SAME)], "tie_word_embeddings": [(False, SAME)]}

CLIP_REFERENCE, CLIPSEG_REFERENCE = (
    reference_named("CLIP ViT", "transformers"),
    reference_named("CLIPSeg", "transformers"),
)
PARTS = [  # reference, where in its sizes the keys stand, the config class of transformers, keys
    ("CLIP ViT", "vision", "CLIPVisionConfig", VISION),
    ("CLIP ViT", "text", "CLIPTextConfig", TEXT),
    ("CLIP ViT", "", "CLIPConfig", {"projection_dim": CLIP["projection_dim"]}),
    (
        "CLIPSeg",
        "vision",
        "CLIPSegVisionConfig",
        {key: CLIPSEG_VISION[key] for key in VISION if key != "projection_dim"},
    ),
    ("CLIPSeg", "text", "CLIPSegTextConfig", {key: TEXT[key] for key in TEXT if key != "projection_dim"}),
    ("CLIPSeg", "", "CLIPSegConfig", {**CLIP, **DECODER}),
    ("BERT", "", "BertConfig", BERT),
    ("DistilBERT", "", "DistilBertConfig", DISTIL),
    ("SAM", "vision", "SamVisionConfig", SAM_VISION),
    ("SAM", "prompt", "SamPromptEncoderConfig", SAM_PROMPT),
    ("SAM", "decoder", "SamMaskDecoderConfig", SAM_DECODER),
]
CASES = [
    pytest.param(model, part, key, value, verdict, id=f"{model}-{part}-{key}={value}")
    for model, part, _, keys in PARTS
    for key, tried in keys.items()
    for value, verdict in tried
]
# Told in the references' builder; parts of the whole; what the library refuses at any but one value.
ELSEWHERE = {"text_config", "vision_config", "logit_scale_init_value", "initializer_factor", "add_cross_attention"}
SIZE_WORDS = {"projection_dim": "embed_dim"}


@pytest.mark.parametrize("model, part, config, keys", PARTS, ids=[f"{model} {part}" for model, part, *_ in PARTS])
def test_every_key_of_the_library_is_tried(model, part, config, keys):
    import transformers

    own = {key for key in getattr(transformers, config).__annotations__ if key not in ("model_type", "base_config_key")}
    fields = {key for key in own if key in getattr(transformers, config).__dataclass_fields__}
    assert fields - keys.keys() - ELSEWHERE == set()


def sizes_with(model: str, part: str, key: str, value: object) -> Sizes:
    sizes = dict(reference_named(model, "transformers").tiny)
    if part:
        sizes[part] = {**sizes[part], key: value}
    else:
        sizes[SIZE_WORDS.get(key, key)] = value
    return sizes


def saved(model: str, sizes: Sizes, folder) -> torch.nn.Module:
    """The library's model with all parameters redrawn, and a folder as its `save_pretrained` writes it."""
    reference = reference_named(model, "transformers")
    theirs = redraw_all(reference.build(**sizes))
    theirs.save_pretrained(folder)
    return theirs


def beside_the_library(model: str, theirs: torch.nn.Module, folder) -> float:
    """The largest difference of any output."""
    reference = reference_named(model, "transformers")
    ours = load(folder, dtype=torch.float64)
    arguments = ours.about["arguments"]
    arguments = {**arguments, **arguments["clip"]["arguments"]} if "clip" in arguments else arguments
    given = reference.inputs(arguments, torch.Generator().manual_seed(1), 2)
    given = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in given.items()}
    with torch.no_grad():
        expected = reference.run_reference(theirs.double().eval(), **given)
        answers = reference.run(ours, **given)
    return max(difference(answers[name], expected[name]) for name in expected)


@pytest.mark.parametrize("model, part, key, value, verdict", CASES)
def test_each_key_at_an_unusual_value(model, part, key, value, verdict, tmp_path):
    theirs = saved(model, sizes_with(model, part, key, value), tmp_path)
    if verdict == SAME:
        assert beside_the_library(model, theirs, tmp_path) <= 1e-10
        return
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    names = {key, "channels" if key == "num_channels" else key, "bias" if key == "qkv_bias" else key}
    assert any(name in str(caught.value) for name in names | {"belong together", "ascending", "mask_tokens"})


@pytest.mark.parametrize("model", ["CLIP ViT", "CLIPSeg"])
@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_one_activation_for_both_towers(model, act, tmp_path):
    tiny = reference_named(model, "transformers").tiny
    sizes = {**tiny, **{part: {**tiny[part], "hidden_act": act} for part in ("vision", "text")}}
    assert beside_the_library(model, saved(model, sizes, tmp_path), tmp_path) <= 1e-10


def test_sams_width_in_all_its_parts(tmp_path):
    sizes = reference_named("SAM", "transformers").tiny
    sizes = {**sizes, "prompt": {**sizes["prompt"], "hidden_size": 32}}
    assert beside_the_library("SAM", saved("SAM", sizes, tmp_path), tmp_path) <= 1e-10


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_the_second_config_of_a_tower_wins(tower, tmp_path):
    """Configs of 2021 have `vision_config_dict` beside `vision_config`; transformers takes the first, all of it."""
    theirs = saved("CLIP ViT", CLIP_REFERENCE.tiny, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config[f"{tower}_config_dict"] = config[f"{tower}_config"]
    config[f"{tower}_config"] = {**config[f"{tower}_config"], "num_attention_heads": 1, "layer_norm_eps": 0.5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = type(theirs).from_pretrained(tmp_path, attn_implementation="sdpa")
    assert beside_the_library("CLIP ViT", again, tmp_path) <= 1e-10
    del config[f"{tower}_config_dict"]["hidden_act"]  # then its default counts, not the other's value
    config[f"{tower}_config"]["hidden_act"] = "gelu"
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = type(theirs).from_pretrained(tmp_path, attn_implementation="sdpa")
    assert beside_the_library("CLIP ViT", again, tmp_path) <= 1e-10


@pytest.mark.parametrize("model", ["CLIP ViT", "CLIPSeg", "BERT", "DistilBERT", "SAM"])
@pytest.mark.parametrize("kind", ["roberta", "siglip", "clip_vision_model"])
def test_a_config_of_another_model(model, kind, tmp_path):
    saved(model, reference_named(model, "transformers").tiny, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": kind}))
    with pytest.raises(UserError, match=f'model_type in config.json is "{kind}", expected'):
        load(tmp_path)
    del config["model_type"]  # the older ones say none
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load(tmp_path).about["arguments"]


@pytest.mark.parametrize("both", [True, False])
def test_distilberts_heads_by_berts_name(both, tmp_path):
    """The library takes `num_attention_heads` for `n_heads`, also where both are there."""
    theirs = saved("DistilBERT", reference_named("DistilBERT", "transformers").tiny, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"num_attention_heads": 6}
    if not both:
        del config["n_heads"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = type(theirs).from_pretrained(tmp_path, attn_implementation="sdpa")
    assert again.config.n_heads == 6 and load(tmp_path).about["arguments"]["num_heads"] == 6
    assert beside_the_library("DistilBERT", again, tmp_path) <= 1e-10
