"""Attacks that were tried by hand once, in all sizes: what grows out of proportion to the file, or ends the process."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from checkpoints_convert.__main__ import main
from checkpoints_convert.reading.files import read_tensors
from tests.fuzz.cases import Target
from tests.fuzz.command import command
from tests.fuzz.targets.pickles import LEGACY_MAGIC, name, text, whole

Files = dict[str, bytes]
PROTO = b"\x80\x02"
STORAGE = b"(" + text("storage") + name("torch FloatStorage") + text("0") + text("cpu") + b"K\x10tQ"


def tensor(shape: bytes, stride: bytes) -> bytes:
    """A program that makes a tensor of the first block."""
    return name("torch._utils _rebuild_tensor_v2") + b"(" + STORAGE + b"K\0" + shape + stride + b"\x89}tR"


def archive(program: bytes, compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """torch.save's archive with this program; further records by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as new:
        new.writestr("a/data.pkl", program)
        new.writestr("a/data/0", bytes(64))
        for key, data in more.items():
            new.writestr(f"a/{key}", data)
    return buffer.getvalue()


def legacy(program: bytes) -> bytes:
    """The head of a file of before 2020."""
    system = PROTO + b"}" + text("little_endian") + b"\x88s."
    return PROTO + whole(LEGACY_MAGIC) + b"." + PROTO + b"M\xe9\x03." + system + program


def doubling_text(rng: Random) -> Files:
    """A name that is a list of lists of lists, each twice: as text it has 2^60 letters."""
    twice = rng.choice((b"(h\0h\0lq\0", b"h\0h\0\x86q\0"))
    ending = rng.choice((text("x") + b"\x93.", b"cm\nn\n0.", name("torch device") + b"h\0\x85R."))
    return {"a.pt": b"\x80\x04" + text("A" * 10) + b"q\0" + (twice + b"0") * rng.choice((5, 30, 60)) + b"h\0" + ending}


def deep_key(rng: Random) -> Files:
    """Tuples in tuples, to be hashed, compared or shown."""
    deep = b")" + b"\x85" * rng.choice((1000, 30_000, 300_000))
    scalar = name("numpy.core.multiarray scalar") + b"(" + name("numpy dtype") + b"(" + deep + b"tRNtR."
    return {
        "a.pt": rng.choice(
            (PROTO + scalar, legacy(PROTO + b"}" + deep + b"Ns."), legacy(PROTO + deep + text("x") + b"\x93."))
        )
    }


def many_names(rng: Random) -> Files:
    """A great many names that are refused."""
    count = rng.choice((100, 6000, 60_000))
    return {"a.pt": PROTO + b"".join(b"cm\nn%d\n0" % number for number in range(count)) + b"N."}


def huge_shape(rng: Random) -> Files:
    """A shape of a great many huge numbers."""
    size = rng.choice((8, 60, 255))
    big = b"\x8a" + bytes([size]) + b"\xff" * (size - 1) + b"\x7f"
    numbers = b"(" + b"h\1" * rng.choice((3, 500, 20_000)) + b"t"
    return {"a.pt": archive(PROTO + b"}" + text("w") + big + b"q\x010" + tensor(numbers, numbers) + b"s.")}


def shape_with_nothing(rng: Random) -> Files:
    """A length too large for any tensor beside a length of 0."""
    big = whole(rng.choice((2**63, 2**63 - 1, 2**64, 2**71 - 1, 2**62)))
    shape = rng.choice((b"(K\0" + big + b"t", b"(" + big + b"K\0t"))
    stride = rng.choice((b"(K\1K\1t", b"(" + big + b"K\1t"))
    return {"a.pt": archive(PROTO + b"}" + text("w") + tensor(shape, stride) + b"s.")}


MODULE = name("__torch__ M") + b")\x81"


def module_dag(rng: Random) -> Files:
    """Modules that hold the one before twice."""
    level = b"0" + MODULE + b"}(" + text("a") + b"h\0" + text("b") + b"h\0ubq\0"
    program = PROTO + MODULE + b"q\0" + level * rng.choice((3, 20, 40)) + b"."
    return {"a.pt": archive(program, **{"constants.pkl": PROTO + b")."})}


def bomb(rng: Random) -> Files:
    """A record that is small in the file and huge when unpacked."""
    compression = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    zeros = bytes(rng.choice((10, 60, 200)) << 20)
    record = rng.choice(("byteorder", "data.pkl", "constants.pkl", "data/1", "version"))
    if record == "data.pkl":
        return {"a.pt": archive(PROTO + b"N0" * 1000 + zeros + b"N.", compression)}
    return {"a.pt": archive(PROTO + b"}.", compression, **{record: zeros})}


def surrogate_name(rng: Random) -> Files:
    """A tensor's name that is no text; or one that a terminal would obey."""
    key = text(rng.choice(("\ud800", "a\udfff", "\x1b[2J", "a\nb", "\0", "\u202e", "x" * 100_000)))
    return {"a.pt": archive(PROTO + b"}" + key + tensor(b"(K\x04t", b"(K\x01t") + b"s.")}


def short_scalar(rng: Random) -> Files:
    """A number of numpy's with too few bytes, or of another kind."""
    code = rng.choice(("f4", "i8", "f2", "V9", "x", "b1"))
    data = rng.choice((b"C\x02ab", b"C\0", text("ab"), b"N", b"K\x05"))
    program = (
        name("numpy.core.multiarray scalar") + b"(" + name("numpy dtype") + b"(" + text(code) + b"tR" + data + b"tR."
    )
    return {"a.pt": rng.choice((legacy, archive))(PROTO + program)}


def deep_legacy(rng: Random) -> Files:
    """Depth in the second program of an old file."""
    count = rng.choice((500, 5000, 100_000))
    return {
        "a.pt": legacy(
            rng.choice(
                (
                    PROTO + b")" + b"\x85" * count + text("x") + b"\x93.",
                    PROTO + b"]" * count + b"a" * (count - 1) + b".",
                )
            )
        )
    }


def odd_index(rng: Random) -> Files:
    """An index of shards that names itself, nothing, another index, or a great many."""
    maps: list[Any] = [
        {"w": "model.safetensors.index.json"},
        {},
        {"w": "b.index.json"},
        {"w": ""},
        {"w": "."},
        {"w": "..", "v": "/"},
        {"w": "\ud800"},
        {"w": "a\0b"},
        {"w": "x" * 5000},
        {f"w{at}": f"{at}.safetensors" for at in range(5000)},
        [],
        None,
        5,
    ]
    index = json.dumps({"weight_map": rng.choice(maps)}).encode()
    other = json.dumps({"weight_map": {"w": "model.safetensors.index.json"}}).encode()
    return {"model.safetensors.index.json": index, "b.index.json": other}


def long_number(rng: Random) -> Files:
    """A header with a number of thousands of digits."""
    digits = b"9" * rng.choice((20, 4299, 4300, 5000, 200_000))
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,' + digits + b"]}}"
    return {"a.safetensors": struct.pack("<Q", len(header)) + header + bytes(8)}


def long_code(rng: Random) -> Files:
    """A TorchScript archive whose code is long and is asked for by many classes."""
    size, count = rng.choice(((100_000, 50), (15_000_000, 2000), (2_000_000, 500)))
    parts = b"".join(text(f"a{at}") + name("__torch__.m M") + b")\x81" for at in range(count))
    program = PROTO + name("__torch__.m M") + b")\x81}(" + parts + b"ub."
    letters = rng.choice((b"x" * size, b"class M(Module):\n" * (size // 17), b"  __parameters__ = [" * (size // 20)))
    records = {"constants.pkl": PROTO + b").", "code/__torch__/m.py": letters}
    return {"a.pt": archive(program, zipfile.ZIP_DEFLATED, **records)}


def nested_json(rng: Random) -> Files:
    """A config or header nested deeply, or very long."""
    depth = rng.choice((60, 900, 100_000))
    words = rng.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth))
    header = b'{"__metadata__":' + words + b"}"
    return rng.choice(
        (
            {"a.safetensors": struct.pack("<Q", len(header)) + header},
            {"model.safetensors.index.json": words},
            {"model.safetensors": struct.pack("<Q", 2) + b"{}", "config.json": words},
        )
    )


def many_pairs(rng: Random) -> Files:
    """Keys that all hash alike, names by the ten thousand, values mentioned again and again."""
    count = rng.choice((1000, 20_000))
    step = 2**61 - 1
    alike = b"}(" + b"".join(whole(step * number) + b"N" for number in range(count)) + b"u."
    again = b"](" + text("x" * 1000) + b"q\0" + b"h\0" * count * 10 + b"e."
    copies = b"}(" + text("x" * 1000) + b"q\0N" + b"h\0N" * count * 5 + b"u."
    return {"a.pt": legacy(PROTO + rng.choice((alike, again, copies)))}


RECIPES: tuple[Callable[[Random], Files], ...] = (
    doubling_text,
    deep_key,
    many_names,
    huge_shape,
    shape_with_nothing,
    module_dag,
    bomb,
    surrogate_name,
    short_scalar,
    deep_legacy,
    odd_index,
    long_number,
    long_code,
    nested_json,
    many_pairs,
)


def make(recipe: Callable[[Random], Files], rng: Random) -> tuple[dict[str, Any], Files]:
    """Its files, opened in one of several ways."""
    files = recipe(rng)
    first = next(iter(files))
    return {"open": rng.choice((first, first, ".")), "command": rng.choice(("", "inspect", "convert"))}, files


def run(values: Mapping[str, Any], folder: Path) -> str:
    """Read, inspect or convert it."""
    path = str(folder / values["open"])
    if values["command"]:
        rest = [str(folder / "out.safetensors")] if values["command"] == "convert" else []
        code, _ = command(main, values["command"], path, *rest)
        return f"{values['command']}ed" if code == 0 else "refused"
    read_tensors(path)
    return "read"


TARGETS = [
    Target(f"attack-{recipe.__name__.replace('_', '-')}", partial(make, recipe), run, share=0.15) for recipe in RECIPES
]
