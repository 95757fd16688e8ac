"""A zip archive's records: where each lies, and its bytes, checked. The numbers of tensors stay in the file.

Python's `zipfile` reads the table of contents; everything else is checked here, because a file may lie: a record lies
where both its headers say, no two records share bytes, none is longer than the file, compressed ones unpack to a
bounded length, and the bytes have the checksum that the archive tells.
"""

import io
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from checkpoints_convert.reading.budget import Budget
from checkpoints_convert.reading.values import Damaged
from minimodels.errors.untrusted import plain

CONTENTS = 16_000_000  # bytes of the table of contents: some hundred thousand records
CHUNK = 2**20  # bytes whose checksum is taken at once
ENCRYPTED = 1  # bit of the flags


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """A file's bytes, read from disk when they are used."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


@dataclass(frozen=True)
class Place:
    """Where bytes lie in a file, from `start` up to `end`, and their checksum where there is one."""

    start: int
    end: int
    checksum: int | None = None

    def check(self, file: BinaryIO, what: str) -> None:
        """Compare the bytes with their checksum. They pass through one small buffer: no memory is filled with them.

        Raises:
            Damaged: they differ.
        """
        if self.checksum is None:
            return
        found, buffer = 0, memoryview(bytearray(min(CHUNK, self.end - self.start)))
        file.seek(self.start)
        for at in range(self.start, self.end, CHUNK):
            count = file.readinto(buffer[: self.end - at])  # type: ignore[attr-defined]
            found = zlib.crc32(buffer[:count], found)
        if found != self.checksum:
            raise Damaged(f"{what} has another checksum than the archive tells")


class Records:
    """The records of a zip archive that is mapped into memory, by name.

    Raises:
        zipfile.BadZipFile, Damaged: no archive, or a table of contents that cannot be true.
    """

    def __init__(self, path: Path, data: mmap.mmap, budget: Budget):
        self.data, self.budget = data, budget
        self.infos: dict[str, zipfile.ZipInfo] = {}
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if info.filename in self.infos:
                    raise Damaged(f"record {plain(info.filename)} is there twice")
                self.infos[info.filename] = info
        # torch.save can leave checksums out: then all are 0
        self.checked = any(info.CRC for info in self.infos.values())

    def __contains__(self, name: object) -> bool:
        return name in self.infos

    def place(self, name: str) -> Place:
        """Where a record's bytes lie, as stored.

        Raises:
            Damaged: not where the table of contents says, or not all there.
        """
        info = self.infos[name]
        shown = f"record {plain(name)}"
        at = info.header_offset
        header = self.data[at : at + 30] if 0 <= at < len(self.data) else b""
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise Damaged(f"{shown} is not where the archive says")
        method, name_length, extra_length = struct.unpack("<8xH16xHH", header)
        wanted = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
        if self.data[at + 30 : at + 30 + name_length] != wanted or method != info.compress_type:
            raise Damaged(f"{shown} has another name or method at its own place")
        start = at + 30 + name_length + extra_length
        if start + info.compress_size > len(self.data):
            raise Damaged(f"{shown} reaches beyond the end of the file")
        return Place(start, start + info.compress_size, info.CRC if self.checked else None)

    def places(self, folder: str) -> dict[str, Place]:
        """Of all stored records of a folder, by the rest of their names: disjoint parts of the file."""
        stored = [
            name
            for name, info in self.infos.items()
            if name.startswith(folder) and info.compress_type == zipfile.ZIP_STORED
        ]
        found = {name.removeprefix(folder): self.place(name) for name in stored}
        end = 0
        for place in sorted(found.values(), key=lambda place: (place.start, place.end)):
            if place.start < end:
                raise Damaged("two of its records share bytes")
            end = place.end
        return found

    def read(self, name: str) -> bytes:
        """A record's bytes; a compressed one is paid from the budget.

        Raises:
            Damaged: encrypted, compressed in a way that torch.save does not, too long, another checksum.
        """
        info, place = self.infos[name], self.place(name)
        shown = f"record {plain(name)}"
        if info.flag_bits & ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Damaged(f"{shown} is encrypted, or compressed in a way that torch.save does not")
        content = self.data[place.start : place.end]
        if info.compress_type == zipfile.ZIP_DEFLATED:
            self.budget.inflate(info.file_size)
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, info.file_size + 1)
        if len(content) != info.file_size:
            raise Damaged(f"{shown} has {len(content):,} bytes, the archive says {info.file_size:,}")
        if place.checksum is not None and zlib.crc32(content) != place.checksum:
            raise Damaged(f"{shown} has another checksum than the archive tells")
        return content


class _Bounded(io.FileIO):
    """A file of which no more than a table of contents is read at once."""

    def read(self, size: int | None = -1) -> bytes:
        count = size if size is not None and size >= 0 else os.fstat(self.fileno()).st_size - self.tell()
        if count > CONTENTS:
            raise Damaged(f"its table of contents takes more than {CONTENTS:,} bytes")
        return super().read(count) or b""
