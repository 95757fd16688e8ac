"""What a caller tells a system is checked before anything is built of it: right type, within bounds, or one line."""

import math

import pytest
import torch

from checkpoints_convert import build
from checkpoints_convert.__main__ import main
from checkpoints_convert.building import check_told
from checkpoints_convert.proof.suite import reference_named
from checkpoints_convert.tables import SYSTEMS
from minimodels.errors import UserError

KEYS = [(system.name, key) for system in SYSTEMS.values() for key in system.told]
WRONG = (None, "", "no", "off", "False", "x", ["x"], [[1]], {"a": 1}, -1, -(2**63), 2**63, 1e300, math.nan)
WRONG += (math.inf, -math.inf, [-1], [math.nan], [2**63, 2**63], ["1", "1"], [True, False])


@pytest.mark.parametrize("system, key", KEYS)
def test_a_value_that_no_key_takes(system, key):
    for value in (value for value in WRONG if key != "architecture" or not isinstance(value, str)):
        with pytest.raises(UserError) as caught:
            check_told({key: value}, SYSTEMS[system])
        assert str(caught.value).startswith(key) and "expected" in str(caught.value) and "\n" not in str(caught.value)


def test_which_type_each_key_has():
    """Of true, a whole number, a fraction and two numbers, each key takes its own kind alone."""
    takes = {(system, key): [taken(system, key, value) for value in (True, 3, 0.25, [3, 4])] for system, key in KEYS}
    truths, wholes, numbers = ([i == at for i in range(4)] for at in range(3))
    for (system, key), kinds in takes.items():
        if key in ("quick_gelu", "mean_pool", "antialias", "backbone", "each_axis"):
            assert kinds == truths, (system, key)
        elif key.endswith("heads") and key != "fusion_heads":
            assert kinds == wholes, (system, key)
        elif key.endswith(("eps", "offset")):
            assert kinds == numbers, (system, key)
    assert takes["vit", "image_size"] == takes["swin", "image_size"] == [False, True, False, True]
    assert takes["swin", "window_size"] == [False, True, False, True]
    assert takes["clipseg", "extract_layers"] == takes["lavt", "fusion_heads"] == [False, False, False, True]


def taken(system: str, key: str, value: object) -> bool:
    """Whether a system takes this value under this key."""
    try:
        check_told({key: value}, SYSTEMS[system])
    except UserError:
        return False
    return True


def test_bounds():
    swin, vit, dinov2 = SYSTEMS["swin"], SYSTEMS["vit"], SYSTEMS["dinov2"]
    assert check_told({"window_size": 256, "image_size": 65536}, swin) == {
        "window_size": 256,
        "image_size": (65536, 65536),
    }
    assert check_told({"num_heads": 4096, "norm_eps": 1}, vit) == {"num_heads": 4096, "norm_eps": 1.0}
    assert check_told({"position_offset": 0}, dinov2) == {"position_offset": 0.0}
    for key, value in (("window_size", 257), ("window_size", [7, 257]), ("window_size", 0), ("image_size", 65537)):
        assert not taken("swin", key, value)
    assert not taken("swin", "image_size", [0, 8]) and not taken("swin", "image_size", [8, 8, 8])
    for key, value in (("num_heads", 0), ("num_heads", 4097), ("norm_eps", 0), ("norm_eps", 1.01)):
        assert not taken("vit", key, value)
    assert not taken("dinov2", "position_offset", -1) and not taken("dinov2", "position_offset", 1.01)
    assert check_told({"extract_layers": [0, 4096]}, SYSTEMS["clipseg"]) == {"extract_layers": (0, 4096)}
    assert not taken("clipseg", "extract_layers", [4097]) and not taken("lavt", "fusion_heads", [1, 4097])


def test_an_unknown_key():
    with pytest.raises(
        UserError, match="vit cannot be told 'heads'; it takes: architecture, patch_size, image_size, num_heads"
    ):
        check_told({"heads": 3}, SYSTEMS["vit"])


@pytest.mark.parametrize("spelled", ["no", "off", "False", "0", "1", "null", '"false"'])
def test_a_truth_is_spelled_true_or_false(spelled, tmp_path, capsys):
    """`--tell quick_gelu=no` was a text that counts as true."""
    reference = reference_named("CLIP ViT", "open_clip")
    torch.save(reference.build(**reference.tiny).state_dict(), tmp_path / "clip.pt")
    words = ["convert", str(tmp_path / "clip.pt"), str(tmp_path / "clip.safetensors"), "--tell"]
    assert main([*words, f"quick_gelu={spelled}"]) == 2
    error = capsys.readouterr().err
    assert "quick_gelu is" in error and "expected true or false" in error and error.count("\n") == 1
    assert not (tmp_path / "clip.safetensors").exists()


def test_a_clip_that_is_no_tensors():
    with pytest.raises(UserError, match="clip is 5, expected the tensors of a CLIP"):
        build({"film_mul.weight": torch.ones(1)}, "clipseg", format="official", clip=5)
