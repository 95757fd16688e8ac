"""Files that are no checkpoint, or a damaged one: one clear sentence each, naming the file and what to do."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from checkpoints_convert.reading.files import write_tensors
from tests.converter.test_files import refuses


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, kind)
    return buffer.getvalue()


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "hello")
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:a63082132ba4\nsize 605247071\n"
WRONG = {
    "empty": (b"", "empty"),
    "text": (b"Hello, this is a text.\n" * 9, "a text file"),
    "short text": (b"cat", "a text file"),
    "page": (b"\n<!DOCTYPE html><html><head><title>404</title>", "a web page"),
    "xml error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "json": (b'{"error": "Repository not found"}', "a JSON text"),
    "lfs": (LFS, "git-LFS pointer"),
    "png": (picture("PNG"), "a PNG picture"),
    "jpeg": (picture("JPEG"), "a JPEG picture"),
    "gif": (picture("GIF"), "a GIF picture"),
    "zip": (zip_of("readme.txt", "photo.jpg"), "zip archive of something else (readme.txt, photo.jpg"),
    "npz": (zip_of("arr_0.npy"), "zip archive of something else (arr_0.npy"),
    "empty zip": (zip_of(), "an empty zip archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(30), "gzip"),
    "tar": (bytes(257) + b"ustar" + bytes(300), "tar"),
    "zeros": (bytes(5000), "unknown format"),
    "noise": (np.random.default_rng(0).bytes(5000), "unknown format"),
    "pickle": (pickle.dumps({"w": [1, 2]}), "a plain Python pickle"),
    "half a pickle": (pickle.dumps({"w": [1, 2]})[:-3], "damaged"),
}


class TestWrongFiles:
    @pytest.mark.parametrize("name", WRONG)
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_what_it_is(self, tmp_path, name, suffix):
        content, words = WRONG[name]
        (tmp_path / f"a{suffix}").write_bytes(content)
        refuses(tmp_path / f"a{suffix}", words)

    @pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "torchscript"])
    @pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.999])
    def test_truncated(self, tmp_path, kind, share, request):
        path = tmp_path / "a.pt"
        tensors = {f"layer.{i}.weight": torch.randn(40, 40) for i in range(5)}
        if kind == "safetensors":
            write_tensors(tmp_path / "b.safetensors", tensors)
            (tmp_path / "b.safetensors").rename(path)
        elif kind == "torchscript":
            torch.jit.save(torch.jit.trace(nn.Linear(40, 40), torch.ones(1, 40)), path)
        else:
            torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        refuses(path, "damaged or cut short")

    def test_truncated_safetensors_says_how_much(self, tmp_path):
        write_tensors(tmp_path / "a.safetensors", {"w": torch.ones(1000)})
        content = (tmp_path / "a.safetensors").read_bytes()
        (tmp_path / "a.safetensors").write_bytes(content[:-1000])
        refuses(tmp_path / "a.safetensors", f"it should have {len(content):,} bytes, it has {len(content) - 1000:,}")

    def test_missing_and_special_files(self, tmp_path):
        refuses(tmp_path / "none.pt", "there is no file")
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe.pt")
            refuses(tmp_path / "pipe.pt", "is not a file")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path):
        write_tensors(tmp_path / "a.pth", {"w": torch.ones(1)})
        (tmp_path / "a.pth").chmod(0)
        refuses(tmp_path / "a.pth", "Permission denied")
