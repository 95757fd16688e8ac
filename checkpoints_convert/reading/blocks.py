"""Tensors as windows on a file: each is checked against its block of numbers, and read from disk when it is used."""

import math
import mmap
from pathlib import Path

import torch
from torch import Tensor

from checkpoints_convert.reading.budget import Budget
from checkpoints_convert.reading.records import Place
from checkpoints_convert.reading.values import Damaged, Storage, TensorSpec
from minimodels.errors.untrusted import plain

TENSOR = 16  # steps of a tensor
UNTYPED = "UntypedStorage"
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


def storage_dtype(storage: Storage) -> torch.dtype:
    """The type of the numbers that a storage counts: its class tells; bytes where that says nothing."""
    kind = storage.kind.rsplit(".", 1)[-1]
    if kind != UNTYPED and kind not in STORAGES:
        raise Damaged(f"numbers of an unknown type {plain(storage.kind)}")
    return STORAGES.get(kind, torch.uint8)


def tensor_dtype(spec: TensorSpec) -> torch.dtype:
    """The type of a tensor's numbers: told beside the tensor, or its storage's class."""
    if spec.dtype is None:
        if spec.storage.kind.endswith(UNTYPED):
            raise Damaged("numbers of an unknown type")
        return storage_dtype(spec.storage)
    dtype = getattr(torch, spec.dtype.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype):
        raise Damaged(f"numbers of an unknown type {plain(spec.dtype)}")
    return dtype


class Blocks:
    """The blocks of numbers of a file, memory-mapped; a block's checksum is compared when its first tensor is made."""

    def __init__(self, path: Path, data: mmap.mmap, places: dict[str, Place], budget: Budget):
        self.path, self.size, self.places, self.budget = path, len(data), places, budget
        self.whole = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=len(data))
        self.blocks: dict[tuple[str, bool], torch.UntypedStorage] = {}
        self.checked: set[str] = set()
        self.made: dict[int, Tensor] = {}  # by the description's place in memory

    def tensor(self, spec: TensorSpec) -> Tensor:
        """The tensor that a pickle describes, once; a window outside its block is refused."""
        if id(spec) not in self.made:
            self.made[id(spec)] = self._window(spec)
        return self.made[id(spec)]

    def _window(self, spec: TensorSpec) -> Tensor:
        self.budget.pay(TENSOR)
        dtype, storage = tensor_dtype(spec), spec.storage
        if storage.length and storage.key not in self.places:
            raise Damaged(f"its block {plain(storage.key)} is missing or compressed")
        place = self.places.get(storage.key, Place(0, 0))
        length = place.end - place.start
        unit = storage_dtype(storage).itemsize
        if length // unit != storage.length:
            raise Damaged(f"block {plain(storage.key)} has {length:,} bytes, not {storage.length:,} numbers")
        first, count = storage.view or (0, storage.length)
        begin, room = first * unit, count * unit  # bytes of the block that the tensor may look at
        numbers = math.prod(spec.shape)
        reach = spec.offset + sum((n - 1) * step for n, step in zip(spec.shape, spec.stride)) + 1 if numbers else 0
        if max(reach, spec.offset) * dtype.itemsize > room or numbers * dtype.itemsize > self.size:
            raise Damaged(f"a tensor of {numbers:,} numbers reaches outside its block")
        if begin % dtype.itemsize:
            raise Damaged("a tensor that begins within a number")
        block = self.block(storage.key, place, dtype.itemsize)
        offset = begin // dtype.itemsize + spec.offset
        return torch.empty(0, dtype=dtype, device="cpu").set_(block, offset, spec.shape, spec.stride)

    def block(self, key: str, place: Place, itemsize: int) -> torch.UntypedStorage:
        """One block; read into memory only where it does not start at a multiple of its numbers' size (older files)."""
        if key not in self.checked:
            with self.path.open("rb") as file:
                place.check(file, f"block {plain(key)}")
            self.checked.add(key)
        aligned = place.start % itemsize == 0 or place.start == place.end
        if (key, aligned) not in self.blocks:
            if place.start == place.end:
                block = torch.UntypedStorage(0)
            elif aligned:
                block = self.whole[place.start : place.end]
            else:
                numbers = torch.empty(place.end - place.start, dtype=torch.uint8, device="cpu")
                with self.path.open("rb") as file:
                    file.seek(place.start)
                    file.readinto(numbers.numpy().data)
                block = numbers.untyped_storage()
            self.blocks[key, aligned] = block
        return self.blocks[key, aligned]
