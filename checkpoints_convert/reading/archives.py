"""torch.save's files and TorchScript archives -> plain Python values with memory-mapped tensors.

A zip archive (torch.save since 2020, TorchScript) holds `data.pkl`, which describes the values, and one record a
block of numbers. An older torch.save file is a row of pickles followed by the blocks. The pickles are read by
`pickles.py`, which runs nothing; the blocks are windows on the memory-mapped file, and a tensor that reaches outside
its block is refused.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from checkpoints_convert.reading.pickles import Damaged, Name, Storage, TensorSpec, Thing, read_pickle
from minimodels.errors import UserError

EXPECTED = "expected a checkpoint: .safetensors, or a .pt, .pth or .bin file of torch.save or TorchScript"
MAGIC = 0x1950A86A20F9469CFC6C  # the first value in torch.save's files of before 2020
LIMIT = 16_000_000  # bytes of one code file of an archive, unpacked
STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}


def read_zip(path: Path) -> tuple[str, Any]:
    """The kind of a zip archive, "torch" or "torchscript", and its value: plain Python with tensors.

    A TorchScript module's value is its state dict; what else its modules hold is the dictionary "attributes" in it.

    Raises:
        UserError: a zip archive of something else.
        Damaged, Refused: see `pickles.read_pickle`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = {info.filename: info for info in archive.infolist()}
            roots = [
                name.removesuffix("data.pkl") for name in records if name.count("/") == 1 and name.endswith("/data.pkl")
            ]
            if len(roots) != 1:
                shown = ", ".join(list(records)[:4])
                raise UserError(f"{path} is a zip archive of something else ({shown} ...); {EXPECTED}")
            root = roots[0]
            if f"{root}byteorder" in records and archive.read(f"{root}byteorder") != b"little":
                raise UserError(f"{path} was written on a big-endian machine; save it again on an ordinary one")
            script = f"{root}constants.pkl" in records
            value = read_pickle(archive.read(f"{root}data.pkl"), torchscript=script)
            blocks = _Blocks(path, _places(path, root, records))
            if script:
                return "torchscript", _state_dict(value, _Declarations(archive, root), blocks)
            return "torch", _Inert(blocks).of(value)
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, RuntimeError, OverflowError) as error:
        raise Damaged(str(error) or type(error).__name__) from None


def read_legacy(path: Path) -> Any:
    """The value of a torch.save file of before 2020: four pickles, the list of blocks, then each block with its length.

    Raises:
        UserError: a pickle of something else.
        Damaged, Refused: see `pickles.read_pickle`.
    """
    size = path.stat().st_size
    storages: dict[str, Storage] = {}
    with path.open("rb") as file:
        if read_pickle(file) != MAGIC:
            raise UserError(f"{path} is a plain Python pickle, not written by torch.save; {EXPECTED}")
        read_pickle(file)
        system = read_pickle(file)
        if not (isinstance(system, dict) and system.get("little_endian", True)):
            raise UserError(f"{path} was written on a big-endian machine; save it again on an ordinary one")
        value = read_pickle(file, storages=storages)
        keys = read_pickle(file)
        places: dict[str, tuple[int, int]] = {}
        for key in keys if isinstance(keys, list) else ():
            if not isinstance(key, str) or key not in storages:
                raise Damaged(f"block {key} is described nowhere")
            length = int.from_bytes(file.read(8), "little")
            start = file.tell()
            places[key] = (start, start + length * _dtype(storages[key], None).itemsize)
            if places[key][1] > size:
                raise Damaged(f"it should have {places[key][1]:,} bytes or more, it has {size:,}")
            file.seek(places[key][1])
    return _Inert(_Blocks(path, places)).of(value)


def _places(path: Path, root: str, records: Mapping[str, zipfile.ZipInfo]) -> dict[str, tuple[int, int]]:
    """Where each block lies in the file: key -> (first byte, byte after the last)."""
    places = {}
    with path.open("rb") as file:
        for name, info in records.items():
            key = name.removeprefix(f"{root}data/")
            if key == name or info.compress_type != zipfile.ZIP_STORED:
                continue
            file.seek(info.header_offset)
            header = file.read(30)
            if header[:4] != b"PK\x03\x04":
                raise Damaged(f"record {name} is not where the archive says")
            name_length, extra_length = struct.unpack("<HH", header[26:30])
            start = info.header_offset + 30 + name_length + extra_length
            places[key] = (start, start + info.file_size)
    return places


def _dtype(storage: Storage, told: str | None) -> torch.dtype:
    """The type of the numbers: told beside the tensor, or the storage's class."""
    if told is not None:
        dtype = getattr(torch, told.removeprefix("torch."), None)
    else:
        dtype = STORAGES.get(storage.kind.rsplit(".", 1)[-1].removesuffix("Storage"))
    if not isinstance(dtype, torch.dtype):
        raise Damaged(f"numbers of an unknown type {told or storage.kind}")
    return dtype


class _Blocks:
    """The blocks of numbers of a file, memory-mapped: a tensor made here is read from disk when it is used."""

    def __init__(self, path: Path, places: dict[str, tuple[int, int]]):
        self.path = path
        self.size = path.stat().st_size
        self.places = places
        self.whole = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=self.size)
        self.cache: dict[tuple[int, int, int], torch.UntypedStorage] = {}

    def tensor(self, spec: TensorSpec) -> Tensor:
        """The tensor that a pickle describes, checked against the file: a window outside its block is refused."""
        dtype = _dtype(spec.storage, spec.dtype)
        start, end = self.places.get(spec.storage.key, (0, 0))
        if spec.storage.view is not None:
            start += spec.storage.view[1] * dtype.itemsize
        count = 1
        for length in spec.shape:
            count *= length
        reach = spec.offset + sum((n - 1) * step for n, step in zip(spec.shape, spec.stride)) + 1 if count else 0
        if end > self.size or start + reach * dtype.itemsize > end or count * dtype.itemsize > self.size:
            raise Damaged(f"a tensor of {count:,} numbers reaches outside its block")
        block = self.block(start, end, dtype.itemsize)
        return torch.empty(0, dtype=dtype, device="cpu").set_(block, spec.offset, spec.shape, spec.stride)

    def block(self, start: int, end: int, itemsize: int) -> torch.UntypedStorage:
        """One block; read into memory only where it does not start at a multiple of its numbers' size (older files)."""
        key = (start, end, itemsize)
        if key not in self.cache:
            if start % itemsize == 0 or start == end:
                self.cache[key] = self.whole[start:end] if end > start else torch.UntypedStorage(0)
            else:
                numbers = torch.empty(end - start, dtype=torch.uint8, device="cpu")
                with self.path.open("rb") as file:
                    file.seek(start)
                    file.readinto(numbers.numpy().data)
                self.cache[key] = numbers.untyped_storage()
        return self.cache[key]


class _Inert:
    """Values of a pickle as plain Python: tensors made, names as text, instances as dictionaries; each value once."""

    def __init__(self, blocks: _Blocks):
        self.blocks = blocks
        self.done: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        try:
            return self.convert(value)
        except RecursionError:
            raise Damaged("its values are nested too deeply") from None

    def convert(self, value: Any) -> Any:
        if isinstance(value, TensorSpec):
            return self.blocks.tensor(value)
        if isinstance(value, Name):
            return value.text
        if not isinstance(value, (dict, list, tuple, Thing)):
            return value
        if id(value) not in self.done:
            if isinstance(value, (dict, Thing)):
                items = value.attributes if isinstance(value, Thing) else value
                out: dict[Any, Any] = {}
                self.done[id(value)] = out  # before its items: a dictionary may hold itself
                out.update({self.convert(key): self.convert(item) for key, item in items.items()})
            elif isinstance(value, list):
                made: list[Any] = []
                self.done[id(value)] = made
                made.extend(self.convert(item) for item in value)
            else:
                self.done[id(value)] = tuple(self.convert(item) for item in value)
        return self.done[id(value)]


class _Declarations:
    """Which attributes of an archive's classes are parameters and buffers: its code lists them, and is read as text."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        self.archive, self.root = archive, root
        self.files: dict[str, str] = {}

    def of(self, name: str) -> list[str] | None:
        """The names, parameters first; None where the archive does not say."""
        module, _, class_name = name.rpartition(".")
        file = f"{self.root}code/{module.replace('.', '/')}.py"
        if file not in self.files:
            known = file in self.archive.NameToInfo and self.archive.getinfo(file).file_size < LIMIT
            self.files[file] = self.archive.read(file).decode("utf-8", "replace") if known else ""
        body = re.search(
            rf"^class {re.escape(class_name)}\(Module\):\n((?:  __\w+__ = \[.*\]\n)*)", self.files[file], re.M
        )
        lists = dict(re.findall(r"__(parameters|buffers)__ = \[(.*)\]", body[1])) if body else {}
        if len(lists) < 2:
            return None
        return re.findall(r'"([^"]*)"', lists["parameters"] + lists["buffers"])


def _state_dict(value: Any, declarations: _Declarations, blocks: _Blocks) -> dict[str, Any]:
    """The tensors of a TorchScript module by their path, and "attributes": what else its instances hold."""
    if not isinstance(value, Thing):
        raise Damaged("a TorchScript archive without a module")
    tensors: dict[str, Any] = {}
    attributes: dict[str, Any] = {}

    def walk(thing: Thing, prefix: str, above: tuple[int, ...]) -> None:
        if id(thing) in above or len(above) > 100 or len(tensors) > 100_000:
            raise Damaged("its modules are nested in a circle")
        declared = declarations.of(thing.name)
        names: Iterable[str] = thing.attributes if declared is None else declared
        for name in names:
            if isinstance(spec := thing.attributes.get(name), TensorSpec):
                tensors[prefix + name] = blocks.tensor(spec)
        for name, item in thing.attributes.items():
            if isinstance(item, Thing) and item.name.startswith("__torch__."):
                walk(item, f"{prefix}{name}.", (*above, id(thing)))
            elif prefix + name not in tensors and name not in ("training", "_is_full_backward_hook"):
                attributes[prefix + name] = item

    walk(value, "", ())
    if attributes:
        tensors.setdefault("attributes", _Inert(blocks).of(attributes))
    return tensors
