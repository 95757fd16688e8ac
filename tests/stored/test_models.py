"""Writing our model files, and the embedded Matcher."""

import pytest
import torch
from safetensors import safe_open
from torch import nn

from minimodels.errors import UserError
from minimodels.stored import models, tiny_matcher
from minimodels.stored.aligned import ALIGNED, save_aligned
from minimodels.stored.finite import check_finite

RESNET = {
    "embed_dim": 8, "image_size": 32, "vision_width": 8, "vision_depths": [1, 1, 1, 1], "vision_heads": 2,
    "text_width": 8, "text_depth": 1, "text_heads": 2, "context_length": 9, "vocab_size": 20,
}  # fmt: skip
ABOUT = {"system": "clip", "class": "CLIPResNet", "arguments": RESNET}


def test_only_floating_numbers_are_converted(tmp_path):
    """BatchNorm counts its steps in whole numbers."""
    model = models.make("CLIPResNet", RESNET)
    models.save(tmp_path / "m.safetensors", model, ABOUT, dtype=torch.float16)
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118 (not a mapping)
    counts = {name for name, tensor in model.state_dict().items() if tensor.dtype == torch.int64}
    assert counts and all((dtype == torch.int64) == (name in counts) for name, dtype in kinds.items())
    assert {dtype for name, dtype in kinds.items() if name not in counts} == {torch.float16}
    for asked, expected in [(None, torch.float16), (torch.float64, torch.float64)]:
        again = models.open_file(tmp_path / "m.safetensors", dtype=asked).state_dict()
        assert all(again[name].dtype == (torch.int64 if name in counts else expected) for name in kinds)
    models.save(tmp_path / "n.safetensors", model, ABOUT)
    again = models.open_file(tmp_path / "n.safetensors", dtype=None).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_a_file_that_cannot_be_written_to_its_end_leaves_the_old_one(tmp_path, monkeypatch):
    model, path = models.make("CLIPResNet", RESNET), tmp_path / "m.safetensors"
    models.save(path, model, ABOUT)
    before = path.read_bytes()

    def half(state, aside, metadata):
        aside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models, "save_aligned", half)
    with pytest.raises(UserError, match="No space left"):
        models.save(path, model, ABOUT)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_what_is_borrowed_is_not_stored_again(tmp_path):
    model = models.load("tiny-clipseg")
    models.save(tmp_path / "m.safetensors", model, model.about)
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        assert not [name for name in file.keys() if name.startswith("clip.")]  # noqa: SIM118
    again = models.open_file(tmp_path / "m.safetensors").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_tensors_begin_where_processors_read_best(tmp_path):
    tensors = {
        "odd": torch.ones(3),
        "byte": torch.ones(5, dtype=torch.uint8),
        "even": torch.ones(32),
        "none": torch.ones(0),
    }
    save_aligned(tensors, tmp_path / "m.safetensors", {"key": "value"})
    save_aligned(tensors, tmp_path / "n.safetensors")
    content = (tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert (8 + length) % ALIGNED == 0 and content[8 + length :][:128] == torch.ones(32).numpy().tobytes()
    for name, about in (("m", {"key": "value"}), ("n", None)):
        with safe_open(tmp_path / f"{name}.safetensors", framework="pt") as file:
            assert file.metadata() == about
            assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_sum_beyond_the_largest_half_is_no_infinity(dtype):
    check_finite({"w": torch.full((70_000,), 2.0, dtype=dtype)}, "it")
    check_finite({"w": torch.ones(3, dtype=torch.int64), "m": torch.empty(3, device="meta")}, "it")
    for bad in (torch.nan, torch.inf, -torch.inf):
        tensor = torch.ones(5, dtype=dtype)
        tensor[3] = bad
        with pytest.raises(UserError, match="it: 1 of 2 tensors hold NaN or infinite values, first b;"):
            check_finite({"a": torch.ones(2), "b": tensor}, "it")


def test_a_name_that_no_embedded_model_has():
    with pytest.raises(UserError, match="no embedded model 'tiny'; there are: tiny-clip"):
        models.load("tiny")


# ---------------------------------------------------------------- the embedded Matcher


def test_the_embedded_matcher_has_the_asked_dtype_and_its_numbers():
    model = tiny_matcher.load(dtype=torch.float64)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert not model.training and model.patch_size == 8
    assert model.least_score == 0.84, "chosen on the validation split"
    assert (model.sizes, model.draws, model.num_centers, model.merge) == ((1, 3), 12, 0, 3)
    assert (model.weights, model.share, model.keep.multimask) == ((1.0, 0.5, 0.5), 0.97, True)
    features = models.load("tiny-clip")
    assert model.mean == features.preprocess.mean and model.std == features.preprocess.std
    assert model.features.block == len(features.image_tower.blocks) // 2 - 1 == 1


def test_told_numbers_win():
    model = tiny_matcher.load(merge=7, least_score=0.5, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert (model.merge, model.least_score, model.draws) == (7, 0.5, 12)
    assert (model.mean, model.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def test_features_of_their_own_are_taken_as_they_are():
    sam, dino = models.load("tiny-sam"), models.load("tiny-dinov2")
    model = tiny_matcher.join(dino, sam)
    assert model.features is dino and model.mean == dino.preprocess.mean
    dino.preprocess = lambda picture: picture
    assert tiny_matcher.join(dino, sam).mean == (0.485, 0.456, 0.406)
    assert isinstance(tiny_matcher.join(models.load("tiny-vit"), sam).features, nn.Module)
