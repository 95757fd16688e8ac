"""The containers themselves: what a zip archive's directory and a safetensors header can claim."""

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from checkpoints_convert.__main__ import main
from checkpoints_convert.reading.files import read_tensors
from tests.fuzz import bases
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.command import command
from tests.fuzz.odd import INTERESTING, odd_text, odd_value
from tests.fuzz.same import assert_same_tensors
from tests.fuzz.targets.damage import read_by_library, truth

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# Where the fields of an entry of the central directory lie, and how long they are.
FIELDS = {"version": (4, 2), "flags": (8, 2), "method": (10, 2), "crc": (16, 4), "packed": (20, 4), "size": (24, 4),
          "name": (28, 2), "extra": (30, 2), "comment": (32, 2), "disk": (34, 2), "offset": (42, 4)}  # fmt: skip


def make_zip(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A real archive packed again in odd ways, and its directory changed."""
    source = rng.choice(("zip", "flat", "script"))
    with zipfile.ZipFile(io.BytesIO(bases.files()[source]["a.pt"])) as old:
        records = [(info.filename, old.read(info)) for info in old.infolist()]
    records = rearranged(rng, records)
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(buffer, "w") as archive:
        for name, data in records:
            kind = rng.choice(COMPRESSIONS) if rng.random() < 0.15 else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), data, kind)
        if rng.random() < 0.1:
            archive.comment = rng.randbytes(rng.choice((1, 100, 60000)))
    data = buffer.getvalue()
    if rng.random() < 0.5:
        data = with_odd_directory(rng, data)
    if rng.random() < 0.1:
        data = rng.randbytes(rng.choice((1, 64))) + data
    return {"format": source, "command": rng.random() < 0.1}, {"a.pt": data}


def rearranged(rng: Random, records: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Records missing, twice, renamed, swollen, added."""
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        at = rng.randrange(len(records))
        name, data = records[at]
        odd = odd_text(rng).encode("utf-8", "replace").decode()[:60000] or "x"
        root = name.split("/")[0]
        kind = rng.randrange(9)
        if kind == 0 and len(records) > 1:
            records = records[:at] + records[at + 1 :]
        elif kind == 1:
            records = [*records, (name, rng.choice((data[::-1], data, b"", rng.randbytes(len(data)))))]
        elif kind == 2:
            records[at] = (
                rng.choice((odd, f"{root}/{odd}", name.upper(), f"b/{name}", name + "/", name + "\0x")),
                data,
            )
        elif kind == 3:
            records[at] = (name, data + bytes(rng.choice((1, 1000, 3_000_000))))
        elif kind == 4:
            records.append((f"{root}/{rng.choice(('data.pkl', 'byteorder', 'constants.pkl', 'code/x.py', odd))}", data))
        elif kind == 5:
            records = [(f"{root}/data/x{number}", b"") for number in range(rng.choice((10, 3000)))] + records
        elif kind == 6:
            records = [(name, b"big" if name.endswith("byteorder") else data) for name, data in records]
        elif kind == 7:
            records = [*records, *((f"second{name[len(root) :]}", data) for name, data in records)]
        else:
            rng.shuffle(records)
    return records


def with_odd_directory(rng: Random, data: bytes) -> bytes:
    """Fields of the central directory, and of the headers before the records, that lie."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        central = rng.random() < 0.7
        mark, shift = (b"PK\x01\x02", 0) if central else (b"PK\x03\x04", -2)
        found = [at for at in range(len(out) - 4) if out[at : at + 4] == mark] if len(out) < 20_000 else []
        if not found:
            return bytes(out)
        at = rng.choice(found)
        names = list(FIELDS) if central else [name for name in FIELDS if FIELDS[name][0] < 31]
        place, size = FIELDS[rng.choice(names)]
        before = int.from_bytes(out[at + place + shift : at + place + shift + size], "little")
        number = rng.choice((*INTERESTING, before + 1, before - 1, before * 2, before ^ 8, rng.choice(found), len(out)))
        out[at + place + shift : at + place + shift + size] = (number % 256**size).to_bytes(size, "little")
    return bytes(out)


def run_zip(values: Mapping[str, Any], folder: Path) -> str:
    """Read it; right, as torch reads it, or refused."""
    path = folder / "a.pt"
    if values["command"]:
        code, _ = command(main, "inspect", str(path), "--all")
        return "inspected" if code == 0 else "refused"
    checkpoint = read_tensors(path)
    with suppress(Wrong):  # what the archive held before is right, whatever the library makes of it
        assert_same_tensors(checkpoint.tensors, truth(values["format"]), "not as before")
        return "read"
    theirs = None if checkpoint.kind == "torchscript" else read_by_library(path)
    if theirs is not None:
        for name in checkpoint.parts.keys() | theirs.keys():
            assert_same_tensors(
                checkpoint.parts.get(name, {}), theirs.get(name, {}), "another reading than the library's"
            )
    else:
        assert_same_tensors(checkpoint.tensors, truth(values["format"]), "read where the library refuses")
    return "read"


# safetensors


def make_header(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A header that claims what it likes."""
    dtypes = ("F32", "F16", "BF16", "F64", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F32 ", "f32", "X", "C64", "U64")
    header: dict[str, Any] = {}
    start = 0
    for at in range(rng.choice((0, 1, 2, 3, 5))):
        shape = [rng.choice((1, 2, 3)) for _ in range(rng.choice((0, 1, 2, 3)))]
        size = 4
        for length in shape:
            size *= length
        entry: dict[str, Any] = {"dtype": "F32", "shape": shape, "data_offsets": [start, start + size]}
        start += size
        if rng.random() < 0.3:
            key = rng.choice(list(entry))
            entry[key] = rng.choice((rng.choice(dtypes), odd_value(rng, entry[key]), rng.choice(INTERESTING)))
        if rng.random() < 0.1:
            entry[odd_text(rng)] = odd_value(rng)
        header[rng.choice((f"layer.{at}.weight", odd_text(rng), f"{at}")) if rng.random() < 0.3 else f"l.{at}"] = entry
    if rng.random() < 0.4:
        words = {"class": rng.choice(("ViT", "CLIP", "odd")), "format": "pt", odd_text(rng): odd_text(rng)}
        header["__metadata__"] = words if rng.random() < 0.6 else odd_value(rng, words)
    encoded = encode(rng, header)
    length = (
        len(encoded) if rng.random() < 0.9 else rng.choice((*INTERESTING, len(encoded) + 1, len(encoded) - 1)) % 2**64
    )
    body = rng.randbytes(start + rng.choice((0, 0, 0, 0, 1, -1, 8)) if start else 0)
    return {"command": rng.random() < 0.2}, {"a.safetensors": struct.pack("<Q", length) + encoded + body}


def encode(rng: Random, header: dict[str, Any]) -> bytes:
    """The header as text, sometimes with names twice, long numbers, spaces or bytes that are no text."""
    words = json.dumps(header)
    if rng.random() < 0.15:
        words = words.replace("1", "1" * rng.choice((20, 400, 5000)), rng.choice((1, -1)))
    if rng.random() < 0.1 and len(words) > 2:
        words = words[:-1] + "," + words[1:]
    if rng.random() < 0.3:
        words = words.encode("ascii").decode("unicode_escape", "replace").replace("\ud800", "?")
    data = words.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        data = data.replace(b"F32", rng.randbytes(3), 1)
    return rng.choice((b"", b"", b"", b" ", b"\n")) + data + b" " * rng.choice((0, 0, 0, 7, 64))


def run_header(values: Mapping[str, Any], folder: Path) -> str:
    """Read it; the library reads the same, or both refuse."""
    path = folder / "a.safetensors"
    if values["command"]:
        code, _ = command(main, "inspect", str(path), "--all")
        return "inspected" if code == 0 else "refused"
    checkpoint = read_tensors(path)
    theirs = read_by_library(path)
    if theirs is None:
        raise Wrong("safetensors refuses what was read")
    assert_same_tensors(checkpoint.tensors, theirs.get("", {}), "another reading than the library's")
    return "read"


def prepare() -> None:
    bases.files()


TARGETS = [
    Target("zip", make_zip, run_zip, prepare, share=0.8),
    Target("header", make_header, run_header, share=0.8),
]
