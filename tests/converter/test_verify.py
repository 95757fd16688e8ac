"""The verification itself: what `compare` measures and reports, and `verify` by name, size and device."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from checkpoints_convert.load import load_source, open_source
from checkpoints_convert.proof.compare import Row, compare, difference, expand, in_dtype, observe
from checkpoints_convert.proof.own import verify_source
from checkpoints_convert.proof.references import all_references, references
from checkpoints_convert.proof.suite import reference_named, twins
from checkpoints_convert.proof.verify import beside, redraw_all, verify
from checkpoints_convert.reading.files import write_tensors
from checkpoints_convert.tables import SYSTEMS, entries
from minimodels.errors import UserError
from minimodels.stored.models import save

INFINITE = float("inf")


# ---------------------------------------------------------------- measuring


def test_difference():
    one = torch.ones(2, 3, dtype=torch.float64)
    assert difference(one, one) == 0
    assert difference(one + 2e-10, one) == pytest.approx(1e-10)  # relative to 1 + |b|
    assert difference(1000 * one + 1e-7, 1000 * one) == pytest.approx(1e-10, rel=1e-2)
    assert difference(one, one[:1]) == INFINITE  # never broadcast
    assert difference(one * float("nan"), one) == INFINITE
    assert difference(one, one * float("nan")) == INFINITE
    assert difference(one * INFINITE, one * INFINITE) == INFINITE  # equal infinities prove nothing
    assert difference(one[:0], one[:0]) == 0
    assert difference(torch.tensor([1, 2]), torch.tensor([1, 2])) == 0
    assert difference(torch.tensor([True]), torch.tensor([False])) == INFINITE


class Two(nn.Module):
    """Two layers with a ReLU that works in place, and a counter."""

    def __init__(self, gain: float = 1.0):
        super().__init__()
        self.first, self.relu, self.second = nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)
        self.unused = nn.Linear(2, 2)
        self.gain = gain
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x):
        return self.second(self.relu(self.gain * self.first(x)))


def two(gain=1.0):
    return redraw_all(Two(gain))


PAIRS = [("first", "first"), ("second", "second")]
X = {"x": torch.randn(6, 4, generator=torch.Generator().manual_seed(0))}


def test_equal_models_are_equal_in_every_row():
    comparison = compare(two(), two(), X, pairs=PAIRS)
    assert comparison.ok and comparison.first_wrong is None
    assert [(row.kind, row.ours) for row in comparison.rows] == [
        ("input", "x"),
        ("block", "first"),
        ("block", "second"),
        ("output", "output"),
    ]
    assert all(row.largest <= 1e-12 for row in comparison.rows)
    lower = [row.lower for row in comparison.rows if row.kind != "input"]
    assert all(list(row) == ["float32"] and row["float32"] <= 1e-6 for row in lower)  # sums of 5 numbers near 1


def test_where_it_differs_and_how():
    """A wrong gain behind the first layer: its output is right, its gradient not; the second's output is wrong."""
    comparison = compare(two(1.001), two(), X, pairs=PAIRS)
    status = {row.ours: row.status for row in comparison.rows}
    assert status == {"x": "GRAD", "first": "GRAD", "second": "DIFF", "output": "DIFF"}
    assert comparison.first_wrong.ours == "second"
    assert comparison.worst.largest > 1e-5
    text = str(comparison)
    assert "DIFF  second" in text and "GRAD  first" in text and "gradient of first." in text and "NOT the same" in text


def test_gradients_alone_can_fail():
    """The same numbers forward, half the gradient: only the gradients tell."""

    def half_gradient(model, x):
        output = model(x)
        return {"output": output.detach() + 0.5 * (output - output.detach())}

    comparison = compare(two(), two(), X, pairs=PAIRS, run=half_gradient)
    assert comparison.largest("output") <= 1e-12 and comparison.largest("gradient") > 0.01 and not comparison.ok
    assert comparison.first_wrong.ours == "second"  # the last wrong one: gradients run backwards


def test_shapes_and_idle_modules_are_told():
    ours, theirs = two(), two()
    ours.second = nn.Linear(5, 2)
    comparison = compare(ours, theirs, X, pairs=[("first", "unused"), ("second", "second")])
    shape = {row.ours: (row.status, row.shape, row.reference_shape) for row in comparison.rows if row.kind == "block"}
    assert shape == {"first": ("SHAPE", (6, 5), None), "second": ("SHAPE", (6, 2), (6, 3))}
    assert comparison.worst.status == "SHAPE"
    assert "did not run" in str(comparison) and "reference: 6 x 3" in str(comparison)
    json.loads(json.dumps(comparison.to_json(), allow_nan=False))  # infinities are words there


def test_a_part_of_their_output_can_be_ours():
    class Padded(Two):
        def forward(self, x):
            return torch.cat([super().forward(x), torch.zeros_like(x)], dim=1)

    padded = redraw_all(Padded())
    pairs = [("", "", lambda output: output[:, :3])]
    comparison = compare(two(), padded, X, pairs=pairs, run_reference=lambda model, x: {"output": model(x)[:, :3]})
    assert comparison.ok and comparison.rows[1].shape == (6, 3)


def test_gradients_pass_through_the_table():
    """Their parameters have other names and another layout."""
    theirs = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    ours = nn.Linear(4, 5)
    ours.load_state_dict(theirs[0].state_dict())

    def to_ours(gradients):
        return {name.removeprefix("0."): tensor for name, tensor in gradients.items() if name.startswith("0.")}

    def first(model, x):
        return {"output": model[0](x)}

    assert compare(ours, theirs, X, run_reference=first, to_ours=to_ours).ok
    assert not compare(ours, theirs, X, run_reference=first, to_ours=lambda gradients: {}).ok


def test_models_are_left_as_they_came():
    """Weights, dtypes, gradients and hooks."""
    ours, theirs = two(), two(2.0)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    pointers = [parameter.data_ptr() for parameter in ours.parameters()]
    compare(ours, theirs, X, pairs=PAIRS)
    for name, tensor in ours.state_dict().items():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name])
    assert pointers == [parameter.data_ptr() for parameter in ours.parameters()]
    assert all(parameter.grad is None for parameter in ours.parameters())
    assert not any(module._forward_hooks for module in ours.modules())
    with pytest.raises(ZeroDivisionError), in_dtype(ours, torch.float64):
        assert ours.first.weight.dtype == torch.float64 and ours.steps.dtype == torch.int64
        raise ZeroDivisionError
    assert ours.first.weight.dtype == torch.float32


def test_a_module_is_seen_before_the_next_one_changes_it():
    """A ReLU in place overwrites what the layer before it put out; the hook keeps its own copy."""
    seen = observe(two(), lambda model, x: {"output": model(x)}, X, ["first"], torch.float64)
    assert (seen.blocks["first"] < 0).any()


def test_counting_pairs():
    model = nn.ModuleDict({"blocks": nn.ModuleList(nn.Identity() for _ in range(11)), "norm": nn.Identity()})
    found = expand([("blocks.{i}", "layers.{i}.out"), ("norm", "ln")], model)
    assert found[10] == ("blocks.10", "layers.10.out") and found[11] == ("norm", "ln") and len(found) == 12


def test_redraw_all_redraws_everything():
    """Nothing is left at its start: no bias of zero, no gain of one, no running mean of zero; whole numbers stay."""

    def layers():
        return nn.Sequential(
            nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Embedding(9, 4)
        )

    model = redraw_all(layers())
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            assert tensor.unique().numel() == tensor.numel() and not (tensor == 0).any() and not (tensor == 1).any(), (
                name
            )
    assert (model[1].running_var > 0).all() and model[1].num_batches_tracked == 0
    assert not model.training
    assert torch.equal(redraw_all(layers())[0].weight, model[0].weight)
    assert not torch.equal(redraw_all(layers(), seed=1)[0].weight, model[0].weight)


def test_row_status():
    row = Row("block", "a", "b", (1,), (1,), float64=1e-11, gradient=2e-10)
    assert row.status == "GRAD" and row.largest == 2e-10
    assert Row("block", "a", "b", (1,), (2,)).status == "SHAPE"
    assert Row("output", "a", "b", (1,), (1,), float64=math.inf).status == "DIFF"


# ---------------------------------------------------------------- by name


@pytest.mark.parity
@pytest.mark.parametrize("system", [name for name in SYSTEMS if references(name)])  # no library has the others
def test_verify_a_system(system, device):
    report = verify(system, device=device)
    assert report.ok, f"\n{report}"
    assert report.worst.largest <= 1e-10
    assert len(report.comparisons) == len(references(system))
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["ok"] and content["comparisons"][0]["rows"][0]["status"] == "OK"


def test_another_seed_is_another_proof():
    first, second = (verify("vit", seed=seed).comparisons[1] for seed in (0, 1))
    assert first.ok and second.ok
    assert [row.float64 for row in first.rows] != [row.float64 for row in second.rows]


@pytest.mark.parity
def test_verify_an_official_name_at_a_tiny_size(device):
    report = verify("OpenAI/CLIP-ViT-base-patch32", "tiny", device=device)  # as the hub, whatever the case
    assert report.ok and "transformers" in report.comparisons[0].title


def test_every_official_size_is_known_to_the_hub():
    """A reference's official names are the hub's; each checkpoint of the hub that has a library can be verified."""
    known = {name for reference in all_references() for name in reference.official}
    known_entries = {entry.name: entry for entry in entries()}
    assert known <= known_entries.keys()
    missing = {name for name, entry in known_entries.items() if entry.system in ("vit", "clip")} - known
    assert not missing


@pytest.mark.parity
@pytest.mark.parametrize("names", [("CLIP ViT", "open_clip"), ("CLIP ViT", "transformers"), ("ViT", "timm")])
def test_official_files_are_read_by_both_sides(names, tmp_path, device):
    """With a file in the cache both sides read it, each in its own way, and its weights are what is compared."""
    reference = reference_named(*names)
    pair = twins(reference, seed=3)
    if names[1] == "transformers":
        pair.theirs.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
    else:
        path = tmp_path / "model.safetensors"
        write_tensors(path, pair.theirs.state_dict())
    told = reference.told(pair.sizes)
    comparison = beside(reference, pair.sizes, device=device, weights=path, told=told)
    assert comparison.ok, f"\n{comparison}"
    assert "weights of model.safetensors" in comparison.title


WRONG = {
    "unknown name": (("openai/clip-vit-bas-patch32",), "did you mean openai/clip-vit-base-patch32"),
    "neither name nor system": (("vitt",), "or verify a system: bert, .*vit"),
    "unknown size": (("vit", "huge"), "no size 'huge'; choose tiny or full"),
}


@pytest.mark.parametrize("arguments, message", WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_are_told(arguments, message):
    with pytest.raises(UserError, match=message):
        verify(*arguments)


@pytest.mark.parametrize("name, message", [("tpu9", "cannot be used here"), ("mps", "no float64|cannot be used here")])
def test_wrong_devices_are_told(name, message):
    with pytest.raises(UserError, match=message):
        verify("vit", device=name)


@pytest.mark.slow
@pytest.mark.parity
def test_the_largest_model_fits(device):
    """ViT-L/14 in float64 with all gradients, on both sides, in less than 12 GB."""
    import resource

    report = verify("ViT-L/14", device=device)
    assert report.ok, f"\n{report}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 < 13


# ---------------------------------------------------------------- a reader's own file


def own_file(folder, reference, kind):
    """The tiny model of a reference as a reader has it: in the library's names, or converted by us."""
    pair = twins(reference, seed=2)
    if kind == "converted":
        save(folder / "own.safetensors", pair.ours, pair.ours.about)
        return open_source(folder / "own.safetensors")
    write_tensors(folder / "own.pth", pair.theirs.state_dict())
    return replace(open_source(folder / "own.pth"), told=reference.told(pair.sizes))


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["in the library's names", "converted"])
@pytest.mark.parametrize("number", range(len(all_references())))
def test_an_own_file_is_verified(number, kind, tmp_path, device):
    """Every model, fine-tuned or converted, beside each library that has it, at the file's own sizes and weights."""
    reference = all_references()[number]
    report = verify_source(own_file(tmp_path, reference, kind), device=device)
    assert report.ok, f"\n{report}"
    assert any(reference.library in comparison.title for comparison in report.comparisons)
    assert all("weights of own." in comparison.title for comparison in report.comparisons)


@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=pytest.mark.parity) for name in ("in the library's names", "converted")]
)
def test_a_wrong_conversion_of_an_own_file_is_found(kind, tmp_path):
    """Heads that were told wrongly: the library of that name has others, the one built from the file the same."""
    timm = pytest.importorskip("timm")
    theirs = redraw_all(timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=32))
    write_tensors(tmp_path / "own.pth", theirs.state_dict())
    source = replace(open_source(tmp_path / "own.pth"), told={"num_heads": 6})
    if kind == "converted":
        ours = load_source(source)
        save(tmp_path / "own.safetensors", ours, ours.about)
        source = open_source(tmp_path / "own.safetensors")
    assert not verify_source(source, "timm:vit_tiny_patch16_224").ok
    right = replace(open_source(tmp_path / "own.pth"), told={"num_heads": 3})
    report = verify_source(right, "timm:vit_tiny_patch16_224")
    assert report.ok and "its vit_tiny_patch16_224" in report.comparisons[0].title


@pytest.mark.parity
def test_against_other_libraries_by_name(tmp_path, device):
    """open_clip by the name of a config, transformers by an official name and by a folder."""
    reference = reference_named("CLIP ViT", "transformers")
    pair = twins(reference)
    pair.theirs.save_pretrained(tmp_path / "folder")
    source = open_source(tmp_path / "folder")
    assert verify_source(source, f"transformers:{tmp_path / 'folder'}", device=device).ok
    with pytest.raises(UserError, match="open_clip's ViT-B-32 does not take the tensors of model.safetensors"):
        verify_source(source, "open_clip:ViT-B-32", device=device)
    with pytest.raises(UserError, match="openai/clip-vit-base-patch32 does not take the tensors") as caught:
        verify_source(source, "transformers:openai/clip-vit-base-patch32", device=device)
    assert "\n" not in str(caught.value)


WRONG_AGAINST = {
    "no library": ("keras:vgg", "expected LIBRARY:NAME, the library one of timm, transformers, open_clip"),
    "no name": ("timm:", "expected LIBRARY:NAME"),
    "unknown to timm": ("timm:vit_enormous", "timm's vit_enormous does not take the tensors of .*Unknown model"),
    "another library's": ("open_clip:ViT-B-32", "open_clip has no ViT with the sizes of"),
    "unknown to transformers": ("transformers:no/such", "transformers's no/such does not take"),
}


@pytest.mark.parametrize("against, message", WRONG_AGAINST.values(), ids=WRONG_AGAINST)
def test_what_cannot_be_held_against_it_is_told(against, message):
    with pytest.raises(UserError, match=message) as caught:
        verify_source(open_source("tiny-vit"), against)
    assert "\n" not in str(caught.value)


def test_a_model_that_no_library_has():
    with pytest.raises(UserError, match="the libraries have no LAVT with the sizes of .*golden cases"):
        verify_source(open_source("tiny-lavt"))
