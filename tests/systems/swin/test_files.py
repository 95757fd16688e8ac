"""Official, timm's and transformers' Swin files: into ours and back, other windows, pictures, and what is refused."""

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from checkpoints_convert import build, export, load
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.proof.references.swin import BACKBONE_TINY, NARROW, THREE
from checkpoints_convert.proof.suite import reference_named, tiny, twins
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.tables.swin import SYSTEM, resize_table
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings
from minimodels.stored.models import open_file, save
from minimodels.swin import Swin, SwinBackbone, same_region, split_windows

TIMM, TRANSFORMERS = reference_named("Swin", "timm"), reference_named("Swin", "transformers")
BACKBONE = reference_named("Swin backbone", "transformers")
STRICT = {
    "timm": (TIMM, tiny(TIMM)),
    "timm, no head": (TIMM, tiny(TIMM, num_classes=0)),
    "transformers": (TRANSFORMERS, tiny(TRANSFORMERS)),
}
SIZES = {**THREE, "patch_size": 2, "window_size": 4, "image_size": (32, 32), "num_classes": 5}


def classifier(**changes) -> Swin:
    """A small Swin with `.about`, as `build` gives it."""
    sizes = {**SIZES, **changes}
    model = redraw_all(Swin(**sizes))
    model.about = {"system": "swin", "class": "Swin", "arguments": sizes, "format": "official"}
    return model


def official(model: Swin) -> dict[str, torch.Tensor]:
    """What a file of the official repository holds: with the buffers that its code keeps."""
    tensors = export(model, "official")
    for at, stage in enumerate(model.stages):
        side, window = 16 // 2**at, stage.blocks[0].window_size
        for i, block in enumerate(stage.blocks):
            tensors[f"layers.{at}.blocks.{i}.attn.relative_position_index"] = block.attn.index.clone()
            if i % 2 and side > window:
                seen = same_region(side, side, window, window // 2)
                tensors[f"layers.{at}.blocks.{i}.attn_mask"] = (~seen).float() * -100
    return tensors


def same_tensors(ours, other):
    a, b = ours.state_dict(), other.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


# ---------------------------------------------------------------- there and back


@pytest.mark.parity
@pytest.mark.parametrize("reference, sizes", STRICT.values(), ids=STRICT.keys())
def test_export_loads_strictly_and_returns(reference, sizes, device):
    pair = twins(reference, sizes, device=device)
    fresh = reference.build(**sizes).eval().to(device)
    exported = SYSTEM.formats[reference.format].table.export(pair.ours.state_dict())
    fresh.load_state_dict(exported, strict=True)
    same_tensors(pair.ours, reference.convert(exported, sizes))
    image = pair.inputs["image"].double()
    with torch.no_grad():
        a, b = reference.run(pair.ours.double(), image), reference.run_reference(fresh.double(), image)
    assert difference(a["logits"], b["logits"]) <= 1e-10


@pytest.mark.parity
@pytest.mark.parametrize("library", ["SwinForImageClassification", "SwinModel", "SwinBackbone"])
def test_transformers_folders(library, tmp_path):
    """What save_pretrained writes, spelled as on the hub, becomes the same model; and the other way round, nothing is
    missing or too much."""
    import transformers

    reference = BACKBONE if library == "SwinBackbone" else TRANSFORMERS
    sizes = tiny(reference, head=False) if library == "SwinModel" else tiny(reference)
    kind = getattr(transformers, library)
    theirs = redraw_all(reference.build(**sizes))
    assert isinstance(theirs, kind)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    assert ours.about["format"] in ("transformers", "transformers_body", "transformers_backbone")
    image = torch.randn(1, 3, 38, 38, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answer = reference.run_reference(theirs.eval(), image)
        for name, found in reference.run(ours, image).items():
            assert difference(found, answer[name]) <= 1e-5, name

    (tmp_path / "ours").mkdir()
    save_file(export(ours, "transformers"), tmp_path / "ours" / "model.safetensors", {"format": "pt"})
    theirs.config.save_pretrained(tmp_path / "ours")
    back, report = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    for name, tensor in back.state_dict().items():
        unused = library == "SwinBackbone" and name.startswith("swin.layernorm")
        assert unused or torch.equal(tensor, theirs.state_dict()[name]), name


def test_official_files(tmp_path):
    """Wrapped in {"model": ...}, with buffers; every name is used or dropped with a reason; the same model."""
    model = classifier()
    tensors = official(model)
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "swin.pth")
    ours = load(tmp_path / "swin.pth", image_size=(32, 32))
    same_tensors(model, ours)
    assert ours.about["format"] == "official" and ours.about["arguments"]["depths"] == SIZES["depths"]
    converted = SYSTEM.formats["official"].table.convert(tensors)
    dropped = {name.rsplit(".", 1)[1] for name in converted.dropped}
    assert not converted.problems and dropped == {"relative_position_index", "attn_mask"}
    assert export(ours, "official").keys() == tensors.keys() - converted.dropped.keys()


def test_timm_reads_official_names_as_we_do():
    """timm's own filter for official files and our table agree, merges one stage further on included."""
    from timm.models.swin_transformer import checkpoint_filter_fn

    model = classifier()
    theirs = TIMM.build(**THREE, img_size=32, patch_size=2, window_size=4, num_classes=5)
    theirs.load_state_dict(checkpoint_filter_fn(official(model), theirs), strict=True)
    exported = export(model, "timm")
    assert theirs.state_dict().keys() == exported.keys()
    assert all(torch.equal(tensor, exported[name]) for name, tensor in theirs.state_dict().items())


def test_our_own_file(tmp_path):
    """The index is computed and not stored, and is there again after reading."""
    for model in (classifier(), redraw_all(SwinBackbone(**NARROW, **BACKBONE_TINY, output_norms=True))):
        if isinstance(model, SwinBackbone) and not isinstance(model, Swin):
            arguments = {**NARROW, **BACKBONE_TINY, "output_norms": True}
            model.about = {"system": "swin", "class": "SwinBackbone", "arguments": arguments}
        save(tmp_path / "swin.safetensors", model, model.about)
        again = open_file(tmp_path / "swin.safetensors")
        same_tensors(model, again)
        image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
        a, b = model.double()(image), again.double()(image)
        assert len(a) == len(b) and all(difference(x, y) <= 1e-10 for x, y in zip(a, b))


# ---------------------------------------------------------------- flavours and windows


@pytest.mark.parametrize("target", ["official", "timm", "transformers"])
def test_a_backbone_out_of_a_classifiers_file(target):
    """Norm and head are left out, with reasons; the maps are those of a backbone with the same weights."""
    model = classifier(window_size=5, image_size=(40, 40))
    ours = build(export(model, target), "swin", backbone=True)
    assert ours.about["class"] == "SwinBackbone" and ours.about["arguments"]["window_size"] == 5
    plain = {n: t for n, t in model.state_dict().items() if not n.startswith(("norm.", "head."))}
    assert ours.state_dict().keys() == plain.keys()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in ours.state_dict().items())


def test_bias_tables_of_another_window():
    """Bicubic, align_corners False, an image a head: as the official loader does it (and as torch spells it)."""
    model = classifier().double()
    ours = build(export(model, "official"), "swin", backbone=True, window_size=7)
    for name, tensor in ours.state_dict().items():
        old = model.state_dict()[name]
        if not name.endswith("relative_bias_table"):
            assert torch.equal(tensor, old)
            continue
        heads = old.shape[1]
        picture = old.T.reshape(1, heads, 7, 7)
        expected = torch.nn.functional.interpolate(picture, size=(13, 13), mode="bicubic", align_corners=False)
        assert difference(tensor, expected.reshape(heads, 169).T) <= 1e-10
    assert [m.shape[1] for m in ours(torch.zeros(1, 3, 30, 30).double())] == [15, 8, 4]
    wider = build(export(model, "official"), "swin", window_size=8, image_size=(64, 64))
    assert [stage.blocks[0].window_size for stage in wider.stages] == [8, 8, 8]
    table = torch.arange(25.0, dtype=torch.float64)[:, None]
    assert difference(resize_table(table, 3), table) <= 1e-12


def test_windows_that_shrank_are_read_stage_by_stage():
    """24 pixels: maps of 12, 6 and 3 tokens, the last window shrunk to 3; as a backbone each stage keeps its own."""
    model = classifier(image_size=(24, 24))
    tensors = export(model, "official")
    same_tensors(model, build(tensors, "swin", image_size=(24, 24)))
    assert build(tensors, "swin", backbone=True).about["arguments"]["window_size"] == (4, 4, 3)
    again = build(tensors, "swin", backbone=True, window_size=4)
    assert again.state_dict()["stages.2.blocks.0.attn.relative_bias_table"].shape == (49, 4)


# ---------------------------------------------------------------- what is refused


def test_a_size_that_does_not_fit_the_tables():
    tensors = export(classifier(image_size=(24, 24)), "official")
    message = (
        r"stages.2.blocks.0.attn.relative_bias_table is made for a window of 3 x 3 tokens, and a picture of 32 x 32 "
        r"pixels leads to 4 x 4 there; tell the size that it was trained for, image_size"
    )
    with pytest.raises(UserError, match=message):
        build(tensors, "swin")
    whole = export(classifier(), "timm")
    with pytest.raises(UserError, match="window of 4 x 4 tokens, and a picture of 16 x 16 pixels leads to 2 x 2"):
        build(whole, "swin", image_size=(16, 16))


def test_image_size_as_told():
    tensors = export(classifier(), "official")
    assert build(tensors, "swin", image_size=32).about["arguments"]["image_size"] == (32, 32)
    assert build(tensors, "swin", image_size=[32, 64]).about["arguments"]["image_size"] == (32, 64)
    for wrong in ("32,32", (32,), (32, 0), 1.5, (32, "32"), True, (32, 65537)):
        with pytest.raises(UserError, match=r"^image_size is .*, expected \(height, width\) in pixels, or one number"):
            build(tensors, "swin", image_size=wrong)


@pytest.mark.parametrize("rows", [48, 36, 50])
def test_a_table_that_no_window_has(rows):
    tensors = export(classifier(), "official")
    name = "layers.1.blocks.0.attn.relative_position_bias_table"
    tensors[name] = torch.zeros(rows, tensors[name].shape[1])
    with pytest.raises(UserError, match=rf"bias table of stage 2 has {rows} rows, and a window of w x w tokens needs"):
        build(tensors, "swin")
    tensors = export(classifier(), "official")
    name = "layers.1.blocks.1.attn.relative_position_bias_table"  # not the block that the window is read from
    tensors[name] = torch.zeros(25, tensors[name].shape[1])
    with pytest.raises(UserError, match="stages.1.blocks.1.attn.relative_bias_table is made for a window of 3 x 3"):
        build(tensors, "swin")


def test_half_a_checkpoint_lists_what_is_missing():
    tensors = export(classifier(), "timm")
    del tensors["layers.1.blocks.2.mlp.fc1.weight"]
    tensors["layers.0.blocks.0.attn.extra"] = torch.zeros(1)
    with pytest.raises(UserError) as caught:
        build(tensors, "swin")
    assert "missing: our stages.1.blocks.2.mlp.fc1.weight" in str(caught.value)
    assert "unknown name in the checkpoint: layers.0.blocks.0.attn.extra" in str(caught.value)
    with pytest.raises(
        UserError, match="cannot be told 'num_heads'; it takes: architecture, patch_size, image_size, window"
    ):
        build(tensors, "swin", num_heads=3)
    with pytest.raises(UserError, match="this is a swin checkpoint"):
        build(export(classifier(), "timm"), "vit")


# ---------------------------------------------------------------- pictures


def noise(width: int, height: int) -> Image.Image:
    pixels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


@pytest.mark.parametrize("name, side", [("swin_tiny_patch4_window7_224", 224), ("swin_base_patch4_window12_384", 384)])
def test_preprocess_as_timm(name, side):
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    transform = create_transform(**resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict()))
    arguments = {"image_size": (side, side)}
    from minimodels.stored.models import preprocess_from_dict

    ours = preprocess_from_dict(SYSTEM.surroundings(arguments, "official", Settings({}, "beside"))["preprocess"])
    for size in ((500, 333), (101, 700)):
        assert torch.equal(ours(noise(*size)), transform(noise(*size)))


def test_preprocess_as_transformers():
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    from minimodels.stored.models import preprocess_from_dict

    arguments = {"image_size": (224, 224)}
    ours = preprocess_from_dict(SYSTEM.surroundings(arguments, "transformers", Settings({}, "beside"))["preprocess"])
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    theirs = ViTImageProcessorPil(size={"height": 224, "width": 224}, resample=3, image_mean=mean, image_std=std)
    for size in ((500, 333), (101, 700)):
        expected = torch.as_tensor(theirs(noise(*size), return_tensors="pt")["pixel_values"][0])
        assert torch.equal(ours(noise(*size)), expected)


def test_windows_of_a_picture_stay_together():
    """Two pictures in a batch: the first half of the windows is the first picture's, so one mask serves both."""
    x = torch.zeros(2, 4, 4, 1)
    x[1] = 1
    assert split_windows(x, 2)[:, 0, 0].tolist() == [0] * 4 + [1] * 4
