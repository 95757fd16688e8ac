"""Damaged files are refused, or what is read from them is right: nothing is silently another number."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints_convert.reading.files import Checkpoint, read_tensors, write_tensors
from minimodels.errors import UserError
from tests.converter.test_files import refuses

TENSORS = {
    "a.weight": torch.linspace(-3, 3, 16).reshape(4, 4),
    "b": torch.tensor(81_985_529_216_486_895),
    "c": torch.linspace(0, 1, 6).half(),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "flags": torch.tensor([True, False, True]),
}


def same(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    """The same names, and for each the same type, shape and bits."""
    return got.keys() == wanted.keys() and all(
        got[name].dtype == tensor.dtype and got[name].shape == tensor.shape and bits(got[name]) == bits(tensor)
        for name, tensor in wanted.items()
    )


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def as_torch_reads(path: Path) -> dict[str, torch.Tensor] | None:
    """What torch itself finds in a file, None where it refuses."""
    try:
        value = torch.load(path, weights_only=True)
        return {name: item for name, item in value["model"].items() if isinstance(item, torch.Tensor)}
    except Exception:  # torch refuses damaged files with errors of any class
        return None


def as_the_header_says(path: Path) -> dict[str, torch.Tensor]:
    """A .safetensors file read by its description: a header in JSON, then bytes."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    kinds = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "U8": "B", "BOOL": "?", "I8": "b", "I16": "h"}
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    read = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        data = content[8 + length + first : 8 + length + last]
        if entry["dtype"] == "BF16":
            numbers = torch.frombuffer(bytearray(data), dtype=torch.bfloat16)
        else:
            numbers = torch.from_numpy(np.frombuffer(bytearray(data), kinds[entry["dtype"]]))
        read[name] = numbers.reshape(entry["shape"])
    return read


def right(kind: str, path: Path, read: Checkpoint) -> bool:
    """An archive has checksums: what is read is what was written. Older files and .safetensors have none: there, what
    another reader finds in the same bytes."""
    if same(read.tensors, TENSORS):
        return True
    if kind == "zip":
        return False
    return same(read.tensors, as_the_header_says(path) if kind == "safetensors" else as_torch_reads(path) or {})


def written(folder: Path, kind: str) -> Path:
    path = folder / ("a.safetensors" if kind == "safetensors" else "a.pt")
    if kind == "safetensors":
        write_tensors(path, TENSORS)
    else:
        value = {"model": TENSORS, "epoch": 3}
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def judge(kind: str, path: Path) -> bool:
    """Whether a damaged file was read; wrong answers fail."""
    try:
        read = read_tensors(path)
    except UserError as error:
        assert "\n" not in str(error)
        return False
    assert right(kind, path, read)
    assert read.extras.get("epoch", 3) == 3 or kind == "legacy"
    return True


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
class TestDamage:
    def test_every_byte(self, tmp_path, kind):
        """Each byte of a file changed alone, in two ways."""
        path = written(tmp_path, kind)
        content = path.read_bytes()
        assert judge(kind, path)
        for place in range(len(content)):
            for change in (0x01, 0xFF) if kind != "zip" or place % 4 == 0 else (0x10,):
                damaged = bytearray(content)
                damaged[place] ^= change
                path.write_bytes(damaged)
                judge(kind, path)

    def test_random_damage(self, tmp_path, kind):
        """Several bytes set, cut out or put in."""
        noise = np.random.default_rng(0)
        path = written(tmp_path, kind)
        content = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(content)
            for place in noise.integers(0, len(content), noise.integers(1, 6)):
                how = noise.integers(0, 6)
                if how == 0:
                    del damaged[place : place + noise.integers(1, 9)]
                elif how == 1:
                    damaged[place:place] = noise.bytes(noise.integers(1, 9))
                else:
                    damaged[min(place, len(damaged) - 1)] = noise.integers(0, 256)
            path.write_bytes(damaged)
            judge(kind, path)

    def test_every_length(self, tmp_path, kind):
        """Cut short at any place, or with bytes behind its end."""
        path = written(tmp_path, kind)
        content = path.read_bytes()
        for length in range(0, len(content), 7):
            path.write_bytes(content[:length])
            assert not judge(kind, path)
        path.write_bytes(content + bytes(100))
        judge(kind, path)


@pytest.mark.parametrize("name", list(TENSORS))
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_changed_number_is_refused_where_there_are_checksums(tmp_path, kind, name):
    path = written(tmp_path, kind)
    content = bytearray(path.read_bytes())
    stored = bits(TENSORS[name] if name != "turned" or kind == "safetensors" else TENSORS[name].T)
    content[content.rindex(stored)] ^= 1
    path.write_bytes(content)
    if kind == "zip":
        refuses(path, "damaged", "checksum")
    else:
        assert not same(read_tensors(path).tensors, TENSORS)


def test_without_checksums(tmp_path):
    """torch.save can leave them out; such a file is read as it is."""
    before = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        path = written(tmp_path, "zip")
    finally:
        torch.serialization.set_crc32_options(before)
    assert same(read_tensors(path).tensors, TENSORS)
