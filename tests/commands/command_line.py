"""What tests of the command lines share: a model in miniature, pictures good and bad, folders nobody can write."""

import shutil
import struct
import subprocess
import zlib
from contextlib import contextmanager

import pytest
import torch
from PIL import Image

from minimodels.__main__ import main
from minimodels.clip import CLIP
from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict
from minimodels.stored import models
from minimodels.words.byte_pair import BytePairTokenizer, learn_merges

CONTEXT = 48
CAPTIONS = ["a small red car left of a dog on grass", "a big owl at night", "a cat and a rocket on wood"]


def write_model(path, seed, trained_on="Sticker World, split train", image_size=32):
    merges = learn_merges(CAPTIONS, 60)
    arguments = {
        "embed_dim": 16,
        "image_size": image_size,
        "patch_size": 8,
        "context_length": CONTEXT,
        "quick_gelu": False,
        "vision_width": 32,
        "vision_depth": 1,
        "vision_heads": 2,
        "text_width": 32,
        "text_depth": 1,
        "text_heads": 2,
        "vocab_size": BytePairTokenizer(merges).vocab_size,
    }
    torch.manual_seed(seed)
    about = {
        "system": "clip",
        "class": "CLIP",
        "arguments": arguments,
        "trained_on": trained_on,
        "preprocess": preprocess_to_dict(CLIPPreprocess(image_size)),
        "tokenizer": {"kind": "bpe", "merges": merges, "context_length": CONTEXT},
    }
    models.save(path, CLIP(**arguments), about)
    return path


def paint(path, seed=0, size=(48, 48)):
    """A picture of random squares."""
    torch.manual_seed(seed)
    squares = torch.randint(256, (4, 4, 3), dtype=torch.uint8).numpy()
    Image.fromarray(squares).resize(size, Image.Resampling.NEAREST).save(path)
    return path


def paint_folder(place):
    """Five pictures, one of them in a folder inside, and things that are none."""
    (place / "inside").mkdir(parents=True)
    for number in range(4):
        paint(place / f"{number}.png", number)
    paint(place / "inside" / "4.JPG", 4)
    (place / "notes.txt").write_text("no picture")
    (place / ".hidden.png").write_bytes(b"no picture")
    return place


def command_line(capsys, monkeypatch, tmp_path, model_file):
    """A function that runs a command line with the small model in an empty folder; gives code, stdout and stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments, model=model_file):
        extra = ["--model", str(model)] if model and "--model" not in arguments else []
        code = main([*map(str, arguments), *extra])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def assert_one_clear_line(result, *words):
    """Exit code 2, nothing on stdout, one line on stderr that holds these words."""
    code, out, err = result
    assert code == 2, err
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    assert "Traceback" not in err
    for word in words:
        assert word.lower() in err.lower(), err


def huge_png():
    """A PNG whose header says 20000 x 20000."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def spoil(path, kind):
    """A file that is no good picture."""
    if kind == "directory":
        path.mkdir()
    elif kind == "truncated":
        paint(path, size=(200, 200))
        path.write_bytes(path.read_bytes()[:150])
    elif kind != "missing":
        contents = {"text": b"a letter", "huge": huge_png(), "bytes": bytes(range(256)) * 9, "empty": b""}
        path.write_bytes(contents[kind])
    return path


@contextmanager
def file_system(path, options):
    """A small file system of its own; skips where this process may not mount one."""
    path.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True).returncode
    ):
        pytest.skip("mounting a file system needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def remount_read_only(path):
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
