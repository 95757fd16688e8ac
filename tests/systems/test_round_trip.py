"""Every model, there and back: what `export` writes loads in the library strictly, by each of its two ways.

References are found (checkpoints_convert/proof/references), and each one's tiny model is written for every library that
has such a model: into the class that the export names, by `load_state_dict(strict=True)` and, where the library is
transformers, by `from_pretrained` of a folder. Nothing is put beside the tensors that were written.
"""

from types import SimpleNamespace

import pytest
import torch

from checkpoints_convert import export
from checkpoints_convert.exporting import export_as, whole_arguments
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.references import all_references, references
from checkpoints_convert.proof.suite import twins
from checkpoints_convert.reading.files import write_tensors
from minimodels.errors import UserError

pytestmark = pytest.mark.parity
REFERENCES = {
    f"{reference.system}: {reference.model}, {reference.library}": reference for reference in all_references()
}


def pairs():
    """Every reference's tiny model, and every library that has such a model, by its reference there."""
    found = {}
    for name, reference in REFERENCES.items():
        with torch.device("meta"):
            empty = reference.build(**reference.tiny)
        about = reference.ours(empty, reference.tiny).about
        for other in references(reference.system):
            if (sizes := other.sizes(whole_arguments(about["class"], about["arguments"]))) is not None:
                found[f"{name} -> {other.library}"] = reference, other, sizes
    return found


PAIRS = pairs()


def options_of(takes):
    """What the line says beyond the class, as `from_pretrained` takes it."""
    return {"add_pooling_layer": False} if takes.endswith("built with add_pooling_layer=False") else {}


def test_every_reference_returns_to_its_own_library():
    assert {(one.model, one.library) for one, other, _ in PAIRS.values() if one is other} == {
        (one.model, one.library) for one in REFERENCES.values()
    }
    assert sum(one.library != other.library for one, other, _ in PAIRS.values()) >= 6


@pytest.mark.parametrize("name", PAIRS)
def test_an_export_loads_strictly_in_both_ways(name, tmp_path, device):
    reference, other, sizes = PAIRS[name]
    pair = twins(reference, device=device)
    pair.ours.double()  # timm's DINOv2 adds two tensors that ours keeps apart
    exported = export_as(pair.ours, other.library)
    fresh = other.build(**sizes).double().eval()
    class_name = exported.takes.partition(",")[0]
    assert class_name.split(".")[0] == other.library and class_name.split(".")[-1] == type(fresh).__name__
    fresh.load_state_dict(exported.tensors, strict=True)
    models = [fresh]
    if other.library == "transformers":
        write_tensors(tmp_path / "model.safetensors", exported.tensors, {"format": "pt"})
        fresh.config.save_pretrained(tmp_path)
        loaded, report = type(fresh).from_pretrained(
            tmp_path, output_loading_info=True, attn_implementation="sdpa", **options_of(exported.takes)
        )
        assert not any(report.values()), report
        models.append(loaded.eval())
    inputs = {key: value.double() if value.is_floating_point() else value for key, value in pair.inputs.items()}
    for theirs in models:
        with torch.no_grad():
            wanted = other.run_reference(theirs.to(device).double(), **inputs)
            answers = other.run(pair.ours, **inputs)
        assert {key: difference(answers[key], wanted[key]) <= 1e-10 for key in wanted} == dict.fromkeys(wanted, True)


@pytest.mark.parametrize("name", REFERENCES)
def test_export_is_the_inverse_of_the_table(name):
    """Bit for bit, and every name that the library's own state dict has."""
    reference = REFERENCES[name]
    pair = twins(reference)
    before, back = pair.theirs.state_dict(), export(pair.ours, reference.format)
    free = {"swin.layernorm.weight", "swin.layernorm.bias"} & set(back)  # a norm that SwinBackbone has and never runs
    assert back.keys() == before.keys()
    for key, tensor in back.items():
        assert tensor.dtype == before[key].dtype
        assert torch.equal(tensor, before[key]) or (key in free and reference.model == "Swin backbone"), key


def spoiled(name, **arguments):
    """A reference's model that says other things of itself."""
    ours = twins(REFERENCES[name]).ours
    about = {**ours.about, "arguments": {**ours.about["arguments"], **arguments}}
    return SimpleNamespace(about=about, state_dict=ours.state_dict)


OTHERWISE = {
    "pooled by the mean": (("vit: ViT, timm", {"mean_pool": True}), "transformers"),
    "no class token": (("vit: ViT, timm", {"class_token": False}), "transformers"),
    "padded maps": (("swin: Swin, transformers", {}), "timm"),
    "a window that shrank": (("swin: Swin, timm", {}), "transformers"),
    "half a window more": (("swin: Swin, timm", {"image_size": (32, 36), "each_axis": False}), "timm"),
    "timm's rule": (("swin: Swin, timm", {"image_size": (32, 36)}), "transformers"),
}


@pytest.mark.parametrize("model, target", OTHERWISE.values(), ids=OTHERWISE)
def test_what_no_class_takes_is_not_written(model, target):
    """Every name would be there, and the answers would be others: refused, not written."""
    with pytest.raises(UserError, match="cannot hold this"):
        export_as(spoiled(model[0], **model[1]), target)
