"""The embedded models: small, each with its card, its figures and the log of its run, and nothing stored twice."""

import hashlib
import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

import minimodels
from minimodels.errors import UserError
from minimodels.stored import embedded

MIB = 2**20
ONE, ALL = 3 * MIB, 32 * MIB
LARGE = 4096  # numbers in a tensor that is worth to be borrowed
FILES = {embedded.FILE, embedded.CARD, embedded.FIGURES, embedded.LOG}


def stored_twice(files: list[Path]) -> list[list[str]]:
    """Large tensors that several files hold with the same bits, each with the places where it lies."""
    places: dict[tuple, list[str]] = defaultdict(list)
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                tensor = file.get_tensor(name)
                if tensor.numel() >= LARGE:
                    digest = hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
                    places[tensor.dtype, tuple(tensor.shape), digest].append(f"{path.parent.name}: {name}")
    return [sorted(found) for found in places.values() if len(found) > 1]


def test_embedded_weights_are_small_and_have_cards():
    sizes = {name: embedded.file(name).stat().st_size for name in embedded.names()}
    assert sizes and max(sizes.values()) <= ONE and sum(sizes.values()) <= ALL, sizes
    for name in embedded.names():
        assert {file.name for file in embedded.folder(name).iterdir()} == FILES, name


def test_a_folder_of_weights_holds_nothing_else():
    for folder in embedded.WEIGHTS.iterdir():
        assert folder.is_dir() and (folder / "card.md").is_file(), folder
        assert {file.name for file in folder.iterdir()} <= FILES, folder
        assert (folder / "card.md").read_text("utf-8").startswith(f"# Model card: {folder.name}\n")
        for file in folder.glob("*.json"):
            json.loads(file.read_text("utf-8"))


def test_no_large_tensor_is_stored_twice():
    assert not stored_twice([embedded.file(name) for name in embedded.names()]), "name the lender in `borrowed`"


def test_a_tensor_stored_twice_is_noticed(tmp_path):
    """The mutant: tiny CLIP's weights copied under other names."""
    (tmp_path / "copy").mkdir()
    with safe_open(embedded.file("tiny-clip"), framework="pt") as file:
        copied = {f"clip.{name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(copied, tmp_path / "copy" / "model.safetensors")
    found = stored_twice([embedded.file("tiny-clip"), tmp_path / "copy" / "model.safetensors"])
    assert ["copy: clip.image_tower.patch_proj.weight", "tiny-clip: image_tower.patch_proj.weight"] in found


def test_each_loads_by_its_name():
    for name in embedded.names():
        assert minimodels.load(name).about["trained_on"].startswith("Sticker World")
    with pytest.raises(UserError, match="tiny-clipseg"):
        minimodels.load("tiny-nothing")


def test_a_folder_without_weights_is_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "WEIGHTS", tmp_path)
    for name in ("b", "a", "empty"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        shutil.copy(__file__, tmp_path / name / "model.safetensors")
    assert embedded.names() == ["a", "b"]
