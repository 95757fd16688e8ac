"""DINOv2 on the official numbers, beside timm and transformers; wrong models that must fail; its files there and back.

The libraries resize positions in ways of their own. At the trained size all agree to 1e-10; at any other the official
numbers (golden cases) win, and what the libraries do instead is named in `test_libraries_resize_in_another_way`.
"""

import pytest
import torch

from checkpoints_convert import build, export, load
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.mutants import Mutant, mutants_of
from checkpoints_convert.proof.mutants.dinov2 import positions_with
from checkpoints_convert.proof.references.dinov2 import REFERENCES
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.proof.verify import beside, redraw_all
from minimodels.dinov2 import DINOv2, to_grid
from minimodels.errors import UserError
from minimodels.pixels.preprocess import preprocess_to_dict
from minimodels.pixels.preprocess_tensor import TensorPreprocess
from minimodels.stored import models
from tests.golden import read_case, run_case
from tests.systems.dinov2 import golden as dinov2

CASES = ["tiny", "tiny_up", "tiny_native", "tiny_same_count", "tiny_reg", "tiny_swiglu"]
SMALL = {"image_size": 20, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_dim": 48}
KINDS = {
    "plain": {},
    "registers": {"num_registers": 4, "position_offset": 0.0, "antialias": True},
    "SwiGLU": {"swiglu": True, "mlp_dim": 32},  # transformers: two thirds of 48
}


def small(seed: int = 0, **changes) -> DINOv2:
    return redraw_all(DINOv2(**{**SMALL, **changes}), seed).double().eval()


def pictures(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------- parity


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_official_numbers(root, name, device):
    with torch.no_grad():
        lines = run_case(read_case(root / "tests/golden/dinov2" / name), device)
    assert all(line.ok is not False for line in lines), "\n".join(map(str, lines))


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", ["facebook/dinov2-small", "facebook/dinov2-with-registers-small"])
def test_full_size(name, device):
    (reference,) = (reference for reference in REFERENCES if name in reference.official)
    assert (comparison := beside(reference, reference.official[name], device=device, batch=1)).ok, f"\n{comparison}"


WAYS = {  # what each library does at another size than the trained one, in our words
    ("DINOv2", "timm"): {"position_offset": 0.0, "antialias": True},
    ("DINOv2", "transformers"): {"position_offset": 0.0, "antialias": False},
    ("DINOv2 registers", "timm"): {},
    ("DINOv2 registers", "transformers"): {},
}


@pytest.mark.parity
@pytest.mark.parametrize("names", WAYS, ids=", ".join)
@pytest.mark.parametrize("size", [(28, 56), (70, 42), (126, 28)])
def test_libraries_resize_in_another_way(names, size):
    """Told to do as they do we agree, to float32 (both resize in it); with the official way the plain models do not."""
    reference = reference_named(*names)
    sizes = {**reference.tiny, **({"dynamic_img_size": True} if names[1] == "timm" else {})}
    theirs = redraw_all(reference.build(**sizes), 0).double().eval()
    image = pictures(2, *size)
    told = {**reference.told(sizes), **WAYS[names]}
    with torch.no_grad():
        expected = reference.run_reference(theirs, image)["patches"]
        as_they_do = build(theirs.state_dict(), "dinov2", format=reference.format, **told).encode(image).patches
        official = reference.ours(theirs, sizes).encode(image).patches
    assert difference(as_they_do, expected) <= 1e-5
    if names[0] == "DINOv2":
        assert difference(official, expected) > 1e-3


# ---------------------------------------------------------------- mutants: on the official numbers


@pytest.fixture(scope="module")
def official(root):
    """Cases with the tensors of their models."""
    return {name: read_case(root / "tests/golden/dinov2" / name) for name in CASES}


def lines_of(case, mutant):
    model = build(case.checkpoint(), "dinov2", num_heads=case.config["kwargs"]["num_heads"])
    with torch.no_grad(), mutant.applied(model):
        return case.judge(dinov2.observe(model, case.tensor("in.image", torch.float64), case.config["layers"]))


@pytest.mark.parity
@pytest.mark.parametrize("mutant", mutants_of("dinov2"), ids=lambda mutant: mutant.name)
def test_mutants_miss_the_official_numbers(mutant, official, monkeypatch):
    monkeypatch.setattr(torch, "equal", lambda *_: True)  # the case's own check of one feature against another
    for case in mutant.cases:
        lines = lines_of(official[case], mutant)
        assert any(line.ok is False and (line.distance is None or line.distance > 1e-8) for line in lines), case


@pytest.mark.parity
@pytest.mark.parametrize("case", ["tiny", "tiny_up", "tiny_same_count", "tiny_reg"])
def test_positions_spelled_out_without_a_mistake_pass(case, official):
    assert all(line.ok is not False for line in lines_of(official[case], Mutant("none", positions_with())))


# ---------------------------------------------------------------- what it computes


@pytest.mark.parametrize("kind", KINDS)
def test_features_by_name(kind):
    model, image = small(**KINDS[kind]), pictures(2, 12, 28)
    with torch.no_grad():
        features = model.encode(image)
        assert difference(model(image), features.class_token) <= 1e-12
        assert difference(model.patch_features(image), features.prenorm[:, 1 + model.num_registers :]) <= 1e-12
        first, last = model.intermediate(image, [2, 0], norm=False)  # ascending, whatever the list says
        assert difference(last, features.prenorm) <= 1e-12
        assert difference(first, model.blocks[0](model.embed(image))) <= 1e-12
        assert difference(model.split(model.intermediate(image)[0])[2], features.patches) <= 1e-12
    assert features.patches.shape == (2, 3 * 7, 24)
    assert to_grid(features.patches, (3, 7)).shape == (2, 24, 3, 7)
    assert torch.equal(to_grid(features.patches, (3, 7))[:, :, 1, 2], features.patches[:, 9])


def test_intermediate_stops_early_and_knows_its_blocks():
    model, ran = small(), []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda module, given, output, number=number: ran.append(number))
    model.intermediate(pictures(1, 8, 8), [0, 1])
    assert ran == [0, 1]
    for layers in (0, 4, [], [3], [-1]):
        with pytest.raises(UserError, match="has 3 blocks, numbered 0 to 2"):
            model.intermediate(pictures(1, 8, 8), layers)


def test_masked_patches_are_the_mask_token_and_keep_their_positions():
    model, image = small(**KINDS["registers"]), pictures(2, 8, 12)
    masked = torch.tensor([[True, False, False, True, False, False], [False] * 6])
    x, plain = model.embed(image, masked), model.embed(image)
    assert difference(x[1], plain[1]) <= 1e-12
    assert difference(x[0, 5], model.mask_token + model.positions((2, 3))[1]) <= 1e-12
    assert difference(x[0, 6], plain[0, 6]) <= 1e-12
    other = image.clone()
    other[0, :, :4, :4] += 1  # what lies under the mask cannot matter
    assert difference(model.embed(other, masked), x) <= 1e-12


def test_gradients_by_finite_differences_at_another_size():
    """No library resizes as the official code does, so nothing else can judge the gradient of the table there."""
    model = small(depth=1, embed_dim=6, num_heads=1, mlp_dim=4)
    image = pictures(1, 8, 12)

    def patches(pos):
        return torch.func.functional_call(model, {"pos": pos}, (image,))

    assert torch.autograd.gradcheck(patches, model.pos.detach().clone().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_positions_are_resized_in_float32_at_least(dtype):
    model = small().to(dtype)
    wide = small()
    wide.load_state_dict(model.state_dict())
    found, exact = model.positions((2, 3)).double(), wide.positions((2, 3))
    rounded_once = torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6  # half a step of this format, and float32's rounding
    assert ((found - exact).abs() <= rounded_once).all()


def test_what_it_refuses():
    with pytest.raises(UserError, match="image_size 20 is not a multiple of patch_size 14"):
        DINOv2(image_size=20)
    with pytest.raises(UserError, match="30 x 20 pixels cannot be cut into patches of 4 x 4"):
        small().encode(pictures(1, 30, 20))


# ---------------------------------------------------------------- files, there and back


def official_files(kind: str) -> dict[str, torch.Tensor]:
    """What an official file of this kind holds: names and shapes of a golden case, all numbers drawn anew."""
    model = small(**KINDS[kind])
    model.about = {"system": "dinov2", "class": "DINOv2", "arguments": {**SMALL, **KINDS[kind]}}
    return {name: tensor.detach().float() for name, tensor in export(model, "official").items()}


@pytest.mark.parametrize("kind", KINDS)
def test_official_there_and_back(kind):
    tensors = official_files(kind)
    model = build(tensors, "dinov2", num_heads=3)
    assert model.about["format"] == "official"
    again = export(model, "official")
    assert again.keys() == tensors.keys() and "mask_token" in again
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in again.items())


@pytest.mark.parametrize("target", ["timm", "transformers", "transformers_v5"])
@pytest.mark.parametrize("kind", KINDS)
def test_export_loads_strictly_in_the_library(kind, target):
    """timm has no mask token, and with registers no position of the class token: it is added to the token."""
    library = target.partition("_")[0]
    reference = reference_named({"plain": "DINOv2"}.get(kind, f"DINOv2 {kind}"), library)
    numbers = {**SMALL, **KINDS[kind]}
    sizes = {
        "timm": {"img_size": 20, "patch_size": 4, "mlp_dim": numbers["mlp_dim"]},
        "transformers": {"image_size": 20, "patch_size": 4, "mlp_ratio": 2},
    }[library]
    ours = build(official_files(kind), "dinov2", num_heads=3).double()
    tensors = {name: tensor.contiguous() for name, tensor in export(ours, target).items()}
    theirs = reference.build(**{**reference.tiny, **sizes}).double()
    if target == "transformers":  # the hub's spelling goes through the library's own loader
        theirs = reference.open(reference, {n: t.float() for n, t in tensors.items()}, {**reference.tiny, **sizes})
    else:
        theirs.load_state_dict(tensors, strict=True)
    theirs = theirs.double().eval()
    image = pictures(2, 20, 20)
    with torch.no_grad():
        expected = reference.run_reference(theirs, image)
        assert all(difference(found, expected[name]) <= 1e-10 for name, found in reference.run(ours, image).items())
        again = build(tensors, "dinov2", num_heads=3)
        assert again.about["format"] == target
        assert difference(again(image), ours(image)) <= 1e-10
    if target != "timm":
        assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_from_timm_back_to_the_official_names(kind):
    """What timm dropped returns as zeros that change nothing: the mask token, the class token's position."""
    official = official_files(kind)
    ours = build(official, "dinov2", num_heads=3)
    through_timm = build(export(ours, "timm"), "dinov2", num_heads=3)
    again = export(through_timm, "official")
    assert again.keys() == official.keys()
    assert all(tensor.shape == official[name].shape for name, tensor in again.items())
    model, image = build(again, "dinov2", num_heads=3).double(), pictures(2, 12, 24)
    with torch.no_grad():
        assert difference(model(image), ours.double()(image)) <= 1e-6  # one float32 sum apart


def test_load_reads_files_and_their_configs(tmp_path):
    torch.save(official_files("registers"), tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    model = load(tmp_path / "dinov2_vits14_reg4_pretrain.pth", num_heads=3)
    assert model.about["arguments"]["num_registers"] == 4 and model.about["arguments"]["antialias"]
    assert model.preprocess.size == 224 and model.preprocess.crop_pct == 0.875
    reference = reference_named("DINOv2 registers", "transformers")
    theirs = redraw_all(reference.build(**reference.tiny), 0)
    theirs.save_pretrained(tmp_path / "folder")
    model = load(tmp_path / "folder")
    assert model.about["arguments"]["num_heads"] == 3 and model.about["format"] == "transformers"
    image = pictures(1, 42, 42)
    with torch.no_grad():
        assert difference(model.double()(image), theirs.double().eval()(image).pooler_output) <= 1e-10


def test_our_own_file_keeps_everything(tmp_path):
    model = small(**KINDS["registers"]).float()
    about = {"class": "DINOv2", "system": "dinov2", "arguments": {**SMALL, **KINDS["registers"]}}
    about["preprocess"] = preprocess_to_dict(TensorPreprocess(20))
    models.save(tmp_path / "m.safetensors", model, about)
    again = models.open_file(tmp_path / "m.safetensors")
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert difference(again.double()(pictures(1, 8, 12)), model.double()(pictures(1, 8, 12))) <= 1e-10


def test_wrong_files_are_told_whole():
    tensors = official_files("plain")
    tensors["blocks.7.surprise"] = torch.zeros(2)
    del tensors["blocks.1.ls1.gamma"]
    with pytest.raises(UserError, match=r"blocks\.7\.surprise.*missing: our blocks\.1\.scale1"):
        build(tensors, "dinov2", num_heads=3)
    tensors = official_files("plain")
    tensors["pos_embed"] = tensors["pos_embed"][:, :-2]
    with pytest.raises(UserError, match="24 positions are neither a square grid of patches nor one and the class"):
        build(tensors, "dinov2", num_heads=3)
    with pytest.raises(UserError, match="layer_norm_eps 1e-12"):
        from checkpoints_convert.tables.dinov2 import from_config

        from_config({"model_type": "dinov2", "layer_norm_eps": 1e-12, "num_attention_heads": 3})
