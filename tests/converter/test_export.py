"""Ours back into every library's format: loads there strictly, answers the same, and returns bit for bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from checkpoints_convert import SYSTEMS, build, export
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.suite import reference_named, tiny, twins
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.reading.files import read_tensors, write_tensors
from minimodels.errors import UserError
from minimodels.stored.models import open_file, save
from tests.golden import read_case

pytestmark = pytest.mark.parity
TIMM, VIT = reference_named("ViT", "timm"), reference_named("ViT", "transformers")
OPEN_CLIP, CLIP = reference_named("CLIP ViT", "open_clip"), reference_named("CLIP ViT", "transformers")
RESNET = reference_named("CLIP ResNet", "open_clip")
BACKBONE = replace(VIT, format="transformers_v5_backbone", pairs=[])
GOLDEN = Path(__file__).parents[1] / "golden" / "clip"


def without_pooler(**sizes):
    """ViTModel without the layer that our table drops; with it, a strict load would miss it."""
    from transformers import ViTModel

    return ViTModel(VIT.build(**sizes).config, add_pooling_layer=False)


STRICT = {
    "ViT, timm": (TIMM, tiny(TIMM)),
    "ViT, timm, fc_norm": (TIMM, tiny(TIMM, global_pool="avg", qkv_bias=False)),
    "ViT, timm, no class token, no head": (TIMM, tiny(TIMM, global_pool="avg", class_token=False, num_classes=0)),
    "ViT, transformers in memory": (VIT, tiny(VIT)),
    "ViT, transformers in memory, backbone": (replace(BACKBONE, build=without_pooler), tiny(VIT)),
    "CLIP ViT, open_clip": (OPEN_CLIP, tiny(OPEN_CLIP)),
    "CLIP ViT, transformers": (CLIP, tiny(CLIP)),
    "CLIP ResNet, open_clip": (RESNET, tiny(RESNET)),
}


def same_bits(ours, other):
    """Equal names, shapes, dtypes and bits."""
    a, b = ours.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert tensor.dtype == b[name].dtype and torch.equal(tensor, b[name]), name


def answers_agree(reference, ours, theirs, inputs):
    """The outputs of both in float64."""
    double = {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}
    with torch.no_grad():
        mine, other = reference.run(ours.double(), **double), reference.run_reference(theirs.double(), **double)
    for name, output in mine.items():
        assert difference(output, other[name]) <= 1e-10, name


@pytest.mark.parametrize("reference, sizes", STRICT.values(), ids=STRICT.keys())
def test_export_loads_strictly(reference, sizes, device):
    """load_state_dict(strict=True) of a fresh model of the library, then the same answers."""
    pair = twins(reference, sizes, device=device)
    fresh = reference.build(**sizes).eval().to(device)
    exported = SYSTEMS[reference.system].formats[reference.format].table.export(pair.ours.state_dict())
    fresh.load_state_dict(exported, strict=True)
    answers_agree(reference, pair.ours, fresh, pair.inputs)


@pytest.mark.parametrize("reference, sizes", STRICT.values(), ids=STRICT.keys())
def test_there_and_back_bit_for_bit(reference, sizes):
    """build(export(ours)) is ours, and export(build(theirs)) is theirs but for what the table drops."""
    pair = twins(reference, sizes)
    table = SYSTEMS[reference.system].formats[reference.format].table
    exported = table.export(pair.ours.state_dict())
    same_bits(pair.ours, reference.convert(exported, sizes))
    theirs = pair.theirs.state_dict()
    assert exported.keys() == theirs.keys() - table.convert(theirs).dropped.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in exported.items())


@pytest.mark.parametrize("library", ["ViTForImageClassification", "ViTModel", "CLIPModel"])
def test_export_to_a_transformers_folder(library, tmp_path):
    """export(..., "transformers") with a config beside it: from_pretrained finds nothing missing or too much."""
    import transformers

    reference = {"ViTForImageClassification": VIT, "ViTModel": BACKBONE, "CLIPModel": CLIP}[library]
    sizes = {**tiny(reference), "head": False} if library == "ViTModel" else tiny(reference)
    pair = twins(reference, sizes)
    write_tensors(tmp_path / "model.safetensors", export(pair.ours, "transformers"), {"format": "pt"})
    pair.theirs.config.save_pretrained(tmp_path)
    options = {"add_pooling_layer": False} if library == "ViTModel" else {}
    model, report = getattr(transformers, library).from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="sdpa", **options
    )
    assert not any(report.values()), report
    answers_agree(reference, pair.ours, model.eval(), pair.inputs)
    told = {key: value for key, value in reference.told(sizes).items() if key in SYSTEMS[reference.system].told}
    same_bits(pair.ours.float(), build(read_tensors(tmp_path).tensors, reference.system, **told))


def test_the_target_decides_the_spelling():
    """The public `export` picks among a target's spellings the one that holds every tensor of this model."""
    resnet = twins(RESNET).ours
    for target in ("open_clip", "openai"):
        names = export(resnet, target)
        assert "visual.attnpool.c_proj.weight" in names and "visual.proj" not in names
    vit = twins(OPEN_CLIP).ours
    assert "visual.proj" in export(vit, "open_clip")
    assert "vit.layers.0.attention.q_proj.weight" in export(twins(VIT).ours, "transformers")  # takes both calls
    with pytest.raises(UserError, match="cannot hold this CLIPResNet"):
        export(resnet, "transformers")
    with pytest.raises(UserError, match="has no format 'keras'; there are: openai"):
        export(vit, "keras")
    with pytest.raises(UserError, match="cannot hold this ViT"):
        export(twins(TIMM, tiny(TIMM, global_pool="avg")).ours, "transformers")  # which knows no fc_norm


@pytest.mark.parametrize("name, form", [("tiny_vit", "openai"), ("tiny_rn", "openai_resnet")])
def test_openai_names_there_and_back(name, form):
    """A checkpoint under OpenAI's own names returns to them, all of them, bit for bit."""
    tensors = read_case(GOLDEN / name).checkpoint()
    ours = build(tensors, "clip", format=form)
    exported = export(ours, "openai")
    assert exported.keys() == tensors.keys()
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in exported.items())
    same_bits(ours, build(exported, "clip", format=form))


def test_from_one_library_into_another(device):
    """open_clip's weights through ours into transformers: the same answers there."""
    pair = twins(OPEN_CLIP, tiny(OPEN_CLIP, quick_gelu=True), device=device)
    vision = {"hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 3}
    text = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    other = CLIP.build(
        vision={**vision, "image_size": 24, "patch_size": 8},
        text={**text, "vocab_size": 60, "max_position_embeddings": 9},
        embed_dim=20,
    )
    other.load_state_dict(export(pair.ours, "transformers"), strict=True)
    answers_agree(CLIP, pair.ours, other.eval().to(device), pair.inputs)


def test_our_own_files_hold_the_same_bits(tmp_path):
    """A model saved in our format and opened again."""
    ours = twins(CLIP).ours
    save(tmp_path / "clip.safetensors", ours, ours.about)
    same_bits(ours, open_file(tmp_path / "clip.safetensors"))


def test_batch_norms_counter_may_be_missing():
    """Files without `num_batches_tracked` load; it counts training steps and no answer depends on it."""
    theirs = redraw_all(RESNET.build(**RESNET.tiny))
    tensors = {name: tensor for name, tensor in theirs.state_dict().items() if not name.endswith("tracked")}
    same_bits(RESNET.ours(theirs, RESNET.tiny), RESNET.convert(tensors, RESNET.tiny))
