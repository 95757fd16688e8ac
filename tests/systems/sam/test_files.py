"""SAM's files: the official names, transformers' folders, our own file, and the wrong ones."""

import pytest
import torch

from checkpoints_convert import build, export
from checkpoints_convert.load import load
from checkpoints_convert.proof.references.sam import OTHER, TINY, open_transformers
from checkpoints_convert.proof.suite import twins
from checkpoints_convert.proof.verify import difference
from checkpoints_convert.tables import sam
from checkpoints_convert.tables.sam import SYSTEM
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings
from minimodels.pixels.preprocess_padded import MEAN_255, PaddedPreprocess
from minimodels.stored import models
from tests.golden import fill, read_case
from tests.systems.sam.small import REFERENCE, SMALL, pictures, prompts, small


def same_state(a, b) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


@pytest.mark.parametrize("sizes", [TINY, OTHER], ids=["tiny", "other sizes"])
def test_export_loads_in_transformers_and_gives_the_same(sizes):
    case = twins(REFERENCE, sizes)
    exported = export(case.ours, "transformers")
    again = open_transformers(REFERENCE, exported, sizes).double().eval()
    given = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in case.inputs.items()}
    with torch.no_grad():
        ours = REFERENCE.run(case.ours.double(), **given)
        theirs = REFERENCE.run_reference(again, **given)
    assert max(difference(ours[name], theirs[name]) for name in theirs) <= 1e-10


def test_official_names_there_and_back(root):
    case = read_case(root / "tests/golden/sam/tiny")
    official = case.checkpoint()
    model = build(official, "sam", decoder_heads=4)
    same_state(export(model, "official"), official)
    assert list(fill.checkpoint(case.keys())) == list(official)


def test_between_the_two_libraries(root):
    """An official file's tensors, exported as transformers names them and read again, are the same weights."""
    case = read_case(root / "tests/golden/sam/tiny")
    model = build(case.checkpoint(), "sam", decoder_heads=4)
    moved = build(export(model, "transformers"), "sam", decoder_heads=4, decoder_eps=1e-5)
    same_state(model.state_dict(), moved.state_dict())
    assert model.about["arguments"] == moved.about["arguments"]


def test_a_folder_of_save_pretrained_loads_with_its_pixels(tmp_path):
    theirs = twins(REFERENCE, TINY).theirs.float()
    sizes = REFERENCE.build(**TINY)
    sizes.load_state_dict(theirs.state_dict())
    sizes.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.about["arguments"]["decoder_eps"] == 1e-6 and loaded.about["arguments"]["decoder_heads"] == 4
    assert loaded.preprocess == PaddedPreprocess(40)
    given = twins(REFERENCE, TINY).inputs
    with torch.no_grad():
        ours, right = REFERENCE.run(loaded, **given), REFERENCE.run_reference(theirs, **given)
    assert max(difference(ours[name], right[name]) for name in right) <= 1e-4  # float32


def test_our_own_file(tmp_path):
    model = small().float()
    about = {"system": "sam", "class": "SAM", "arguments": dict(SMALL)}
    about["preprocess"] = {"class": "PaddedPreprocess", "size": 40, "mean": MEAN_255, "std": (1.0, 2.0, 3.0)}
    models.save(tmp_path / "sam.safetensors", model, about)
    again = models.open_file(tmp_path / "sam.safetensors")
    same_state(model.state_dict(), again.state_dict())
    assert again.preprocess == PaddedPreprocess(40, std=(1.0, 2.0, 3.0))
    given = prompts(1, 2)
    with torch.no_grad():
        assert difference(model.double()(pictures(1), **given)[0], again.double()(pictures(1), **given)[0]) <= 1e-10


def test_wrong_files(root):
    official = read_case(root / "tests/golden/sam/tiny").checkpoint()
    renamed = {name.replace("neck.0", "neck.9"): tensor for name, tensor in official.items()}
    with pytest.raises(UserError, match=r"neck\.0"):
        build(renamed, "sam", decoder_heads=4)
    lost = {name: tensor for name, tensor in official.items() if "iou_token" not in name}
    with pytest.raises(UserError, match="missing: our mask_decoder.iou_token"):
        build(lost, "sam", decoder_heads=4)
    with pytest.raises(UserError, match="incomplete sam checkpoint"):
        build({name: tensor for name, tensor in official.items() if "image_encoder" not in name}, "sam")
    uneven = dict(official)
    uneven["image_encoder.blocks.0.attn.rel_pos_h"] = torch.zeros(7, 16).double()
    with pytest.raises(UserError, match=r"windows of \[4, 5\] tokens a side"):
        build(uneven, "sam", decoder_heads=4)
    with pytest.raises(UserError, match="32 channels cannot be split into 7 heads"):
        build(official, "sam", decoder_heads=7)


# ---------------------------------------------------------------- configs

RELEASED = {
    "size": {"longest_edge": 40},
    "pad_size": {"height": 40, "width": 40},
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    **dict.fromkeys(("do_resize", "do_rescale", "do_normalize", "do_pad", "do_convert_rgb"), True),
}


def prepared(**config):
    return models.preprocess_from_dict(
        SYSTEM.surroundings({"image_size": 40}, "transformers", Settings({"preprocessor_config": config}, "beside"))[
            "preprocess"
        ]
    )


def test_pixels_as_the_config_says():
    assert prepared() == prepared(**RELEASED) == PaddedPreprocess(40)
    changed = prepared(**RELEASED, image_mean=[0.5, 0.25, 0], image_std=[1, 2, 4])
    assert changed == PaddedPreprocess(40, (127.5, 63.75, 0.0), (255.0, 510.0, 1020.0))


@pytest.mark.parametrize(
    "key, value",
    [
        *((key, False) for key in RELEASED if key.startswith("do_")),
        ("size", {"longest_edge": 41}),
        ("size", {"height": 40, "width": 40}),
        ("size", 40),
        ("pad_size", {"height": 40, "width": 41}),
        ("resample", 3),
        ("rescale_factor", 0.004),
        ("image_mean", [0.5, 0.5]),
        ("image_std", "0.5"),
    ],
)
def test_pixels_that_are_prepared_in_another_way(key, value):
    with pytest.raises(UserError, match=f"^{key} in preprocessor_config in beside is .*, expected"):
        prepared(**{**RELEASED, key: value})


def test_heads_of_a_decoder_that_no_release_has(root):
    """256 wide it has 8 heads in both libraries; other widths are told."""
    official = read_case(root / "tests/golden/sam/tiny").checkpoint()
    with pytest.raises(UserError, match="tells decoder_heads, and no width of 32 .* tell it .decoder_heads="):
        build(official, "sam")
    assert sam.DECODER_HEADS == {256: 8}


@pytest.mark.parametrize("told", [{"embed_dim": 5}, {"depth": 9}, {"num_masks": 2}, {"global_blocks": (0,)}])
def test_a_told_size_that_the_shapes_contradict(root, told):
    official = read_case(root / "tests/golden/sam/tiny").checkpoint()
    with pytest.raises(UserError, match=f"{next(iter(told))} is told as .*, the shapes say"):
        build(official, "sam", decoder_heads=4, **told)
