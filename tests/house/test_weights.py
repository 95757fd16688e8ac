"""The embedded models: small, each with its card, its figures and the log of its run, and nothing stored twice."""

import hashlib
import json
import math
import shutil
import struct
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import minimodels
from minimodels.errors import UserError
from minimodels.stored import embedded
from minimodels.stored.aligned import DTYPES, save_aligned

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


def unaligned(path: Path) -> list[str]:
    """Tensors that begin where the format would let them begin better: see `minimodels.stored.aligned`."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    found = [] if (8 + length) % 64 == 0 else ["the data itself"]
    for name, about in header.items():
        start, end = about["data_offsets"]
        number = (end - start) // max(1, math.prod(about["shape"]))
        if (8 + length + start) % (64 if (end - start) % 64 == 0 else max(1, number)):
            found.append(name)
    return found


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


def test_every_tensor_is_aligned(tmp_path):
    """As far as the format lets it; the mutant: the same tensors written by the library."""
    for name in embedded.names():
        assert not unaligned(embedded.file(name)), name
    with safe_open(embedded.file("tiny-lavt"), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "theirs.safetensors", {"a": "b"})
    assert len(unaligned(tmp_path / "theirs.safetensors")) > 50


def test_what_is_written_aligned_is_read_back(tmp_path):
    """Every dtype, no tensor, empty ones, single numbers, odd sizes, views; the header in other letters."""
    tensors = {f"{dtype}": torch.arange(-3, 130, dtype=torch.float64)[::2].to(dtype) for dtype in DTYPES}
    tensors |= {"empty": torch.zeros(0, 3), "one": torch.tensor(2.5), "odd": torch.ones(3, 5, dtype=torch.bool)}
    tensors |= {"view": torch.randn(6, 4).T, "twice": tensors["one"], "Ä \U0001f600": torch.randn(7).half()}
    for given, metadata in ((tensors, {"ä": "\n"}), ({}, None)):
        save_aligned(given, path := tmp_path / "a.safetensors", metadata)
        assert not unaligned(path)
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == metadata and set(file.keys()) == set(given)
            for name, tensor in given.items():
                found = file.get_tensor(name)
                assert found.dtype == tensor.dtype and found.shape == tensor.shape, name
                bits = [one.contiguous().reshape(-1).view(torch.uint8) for one in (found, tensor)]
                assert torch.equal(*bits), name


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
