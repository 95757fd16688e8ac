"""torch.save's files and TorchScript archives -> plain Python values with memory-mapped tensors.

A zip archive (torch.save since 2020, TorchScript) holds `data.pkl`, which describes the values, and one record a
block of numbers. An older torch.save file is a row of pickles followed by the blocks. The pickles are read by
`pickles.py`, which runs nothing; the blocks are windows on the memory-mapped file, and a tensor that reaches outside
its block is refused. One `Budget` pays for all of it.
"""

import mmap
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from checkpoints_convert.reading.blocks import Blocks, storage_dtype
from checkpoints_convert.reading.budget import Budget
from checkpoints_convert.reading.modules import Declarations, state_dict
from checkpoints_convert.reading.pickles import read_pickle
from checkpoints_convert.reading.plainly import Plain
from checkpoints_convert.reading.records import Place, Records, mapped
from checkpoints_convert.reading.values import Damaged, Storage
from minimodels.errors import UserError
from minimodels.errors.untrusted import plain

EXPECTED = "expected a checkpoint: .safetensors, or a .pt, .pth or .bin file of torch.save or TorchScript"
MAGIC = 0x1950A86A20F9469CFC6C  # the first value in torch.save's files of before 2020
PROTOCOL = 1001  # and the second one


def read_zip(path: Path) -> tuple[str, Any]:
    """The kind of a zip archive, "torch" or "torchscript", and its value: plain Python with tensors.

    A TorchScript module's value is its state dict; what else its modules hold is the dictionary "attributes" in it.

    Raises:
        UserError: a zip archive of something else.
        Damaged, Refused: see `pickles.read_pickle`.
    """
    with mapped(path) as data:
        budget = Budget(len(data))
        try:
            return _read_records(path, data, Records(path, data, budget), budget)
        # NotImplementedError is zipfile's word for a newer archive version, encryption or a patch record.
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, UnicodeError) as error:
            raise Damaged(plain(str(error)) or type(error).__name__) from None


def _read_records(path: Path, data: mmap.mmap, records: Records, budget: Budget) -> tuple[str, Any]:
    names = list(records.infos)
    roots = [name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        shown = ", ".join(map(plain, names[:4]))
        raise UserError(f"{path} is a zip archive of something else ({shown} ...); {EXPECTED}")
    root = roots[0]
    if f"{root}byteorder" in records and records.read(f"{root}byteorder") != b"little":
        raise UserError(f"{path} was written on a big-endian machine; save it again on an ordinary one")
    script = f"{root}constants.pkl" in records
    value, _ = read_pickle(records.read(f"{root}data.pkl"), budget, torchscript=script)
    blocks = Blocks(path, data, records.places(f"{root}data/"), budget)
    if script:
        return "torchscript", state_dict(value, Declarations(records, root), blocks, budget)
    return "torch", Plain(blocks, budget).of(value)


def read_legacy(path: Path) -> Any:
    """The value of a torch.save file of before 2020: four pickles, the list of blocks, then each block with its length.

    Raises:
        UserError: a pickle of something else.
        Damaged, Refused: see `pickles.read_pickle`.
    """
    storages: dict[str, Storage] = {}
    with mapped(path) as data:
        budget = Budget(len(data))
        magic, at = read_pickle(data, budget)
        if type(magic) is not int or magic != MAGIC:
            raise UserError(f"{path} is a plain Python pickle, not written by torch.save; {EXPECTED}")
        protocol, at = read_pickle(data, budget, at)
        if type(protocol) is not int or protocol != PROTOCOL:
            raise Damaged(f"its second value is no {PROTOCOL}, the number of torch.save's old format")
        system, at = read_pickle(data, budget, at)
        if not (isinstance(system, dict) and system.get("little_endian", True) is True):
            raise UserError(f"{path} was written on a big-endian machine; save it again on an ordinary one")
        value, at = read_pickle(data, budget, at, storages=storages)
        keys, at = read_pickle(data, budget, at)
        places = _blocks_in_a_row(data, keys, at, storages)
        return Plain(Blocks(path, data, places, budget), budget).of(value)


def _blocks_in_a_row(data: mmap.mmap, keys: Any, at: int, storages: dict[str, Storage]) -> dict[str, Place]:
    """Where each block of an older file lies: eight bytes say how many numbers follow."""
    places: dict[str, Place] = {}
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages or key in places:
            raise Damaged(
                f"block {plain(key) if isinstance(key, str) else '?'} is described nowhere, or is there twice"
            )
        length = int.from_bytes(data[at : at + 8], "little")
        end = at + 8 + length * storage_dtype(storages[key]).itemsize
        if end > len(data):
            raise Damaged(f"it should have {end:,} bytes or more, it has {len(data):,}")
        places[key] = Place(at + 8, end)
        at = end
    return places
