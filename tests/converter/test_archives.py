"""Archives and older files: a tensor lies in its block, a block where both headers say, modules go by their paths."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from checkpoints_convert.reading import budget, files, records
from checkpoints_convert.reading.files import read_tensors
from checkpoints_convert.reading.modules import declared
from minimodels.errors import UserError
from tests.converter import hostile
from tests.converter.hostile import MAGIC, MODULE, storage, tensor, text
from tests.converter.test_files import refuses

NUMBERS = torch.arange(16.0)
BLOCK = NUMBERS.numpy().tobytes()


def size(*numbers: int) -> bytes:
    """Instructions that push a tuple of whole numbers."""
    return b"(" + b"".join(b"J" + struct.pack("<i", number) for number in numbers) + b"t"


def one(program: bytes) -> bytes:
    """A pickle of a dictionary with one tensor."""
    return b"\x80\x02}" + text("w") + program + b"s."


def archive(path: Path, *entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in entries:
            made.writestr(name, content, method)
    return path


def zipped(path: Path, program: bytes, block: bytes = BLOCK) -> Path:
    return archive(path, ("a/data.pkl", one(program)), ("a/data/0", block))


def legacy(path: Path, program: bytes, keys: tuple[str, ...] = ("0",), block: bytes = BLOCK, length: int = 16) -> Path:
    listed = b"\x80\x02](" + b"".join(text(key) for key in keys) + b"e."
    path.write_bytes(MAGIC + one(program) + listed + (struct.pack("<Q", length) + block) * len(keys))
    return path


FORMATS = [zipped, legacy]
WINDOWS = [
    ((16,), (1,), 0, True), ((15,), (1,), 1, True), ((16,), (1,), 1, False), ((1,), (1,), 15, True), ((1,),
    (1,), 16, False),
    ((4, 4), (4, 1), 0, True), ((4, 4), (1, 4), 0, True), ((4, 4), (4, 1), 1, False), ((4, 4), (5, 1), 0, False),
    ((3, 4), (6, 1), 0, True), ((3, 4), (6, 1), 1, False), ((2, 4), (12, 1), 0, True), ((2, 4), (13, 1), 0, False),
    ((1, 4), (10**6, 1), 12, True), ((4, 4), (0, 0), 15, True), ((4, 4), (0, 0), 16, False), ((), (), 15, True),
    ((), (), 16, False), ((0,), (1,), 16, True), ((0,), (1,), 17, False), ((0, 4), (4, 1), 0, True),
    ((4,), (1,), 10**6, False), ((4,), (10**6,), 0, False), ((10**6,), (1,), 0, False), ((10**5,), (0,), 0, False),
]  # fmt: skip


@pytest.mark.parametrize("make", FORMATS)
class TestWindows:
    @pytest.mark.parametrize("shape, stride, offset, inside", WINDOWS)
    def test_a_tensor_lies_in_its_block(self, tmp_path, make, shape, stride, offset, inside):
        place = b"J" + struct.pack("<i", offset)
        path = make(tmp_path / "a.pt", tensor(size(*shape), size(*stride), place))
        if not inside:
            refuses(path, "damaged", "reaches outside its block")
        else:
            wanted = torch.as_strided(NUMBERS, shape, stride, offset) if 0 not in shape else torch.empty(shape)
            assert torch.equal(read_tensors(path)["w"], wanted)

    def test_a_tensor_is_no_larger_than_its_file(self, tmp_path, make):
        """Each number mentioned many times would be copied many times by whoever uses it."""
        path = make(tmp_path / "a.pt", tensor(size(20), size(0)))
        assert read_tensors(path)["w"].tolist() == [0] * 20
        most = path.stat().st_size // 4
        assert len(read_tensors(make(path, tensor(size(most), size(0))))["w"]) == most
        refuses(make(path, tensor(size(most + 1), size(0))), "reaches outside")

    @pytest.mark.parametrize("length", [0, 15, 17])
    def test_a_storage_that_lies_about_its_length(self, tmp_path, make, length):
        refuses(make(tmp_path / "a.pt", tensor(size(0), size(1), block=storage(length))), "block 0 has 64 bytes, not")

    @pytest.mark.parametrize(
        "kind, dtype", [("Double", torch.float64), ("Half", torch.float16), ("Long", torch.int64),
        ("Byte", torch.uint8),
                        ("BFloat16", torch.bfloat16), ("Bool", torch.bool), ("Int", torch.int32),
                        ("Short", torch.int16),
                        ("Char", torch.int8), ("ComplexFloat", torch.complex64), ("ComplexDouble", torch.complex128)],
    )  # fmt: skip
    def test_kinds(self, tmp_path, make, kind, dtype):
        count = 64 // dtype.itemsize
        for name in (f"{kind}Storage", f"cuda.{kind}Storage"):
            block = storage(count).replace(b"torch\nFloatStorage", f"torch\n{name}".encode())
            path = tmp_path / "a.pt"
            options = {"length": count} if make is legacy else {}
            read = read_tensors(make(path, tensor(size(count), size(1), block=block), **options))["w"]
            assert read.dtype == dtype and read.view(torch.uint8).numpy().tobytes() == BLOCK
            refuses(make(path, tensor(size(count + 1), size(1), block=block), **options), "reaches outside")

    @pytest.mark.parametrize("kind", ["QInt8Storage", "TypedStorage", "UntypedStorage"])
    def test_kinds_that_are_none(self, tmp_path, make, kind):
        block = storage(64, kind=kind)
        options = {"length": 64} if make is legacy else {}
        refuses(make(tmp_path / "a.pt", tensor(block=block), **options), "damaged", "unknown type")

    @pytest.mark.parametrize(
        "told, good", [("float64", True), ("Tensor", False), ("strided", False), ("uint99", False)]
    )
    def test_a_type_told_beside_bytes(self, tmp_path, make, told, good):
        block = storage(64).replace(b"torch\nFloatStorage", b"torch.storage\nUntypedStorage")

        def program(shape: bytes, offset: bytes) -> bytes:
            head = b"ctorch._utils\n_rebuild_tensor_v3\n(" + block + offset + shape + size(1)
            return head + f"\x89}}ctorch\n{told}\n".encode("latin1") + b"tR"

        options = {"length": 64} if make is legacy else {}
        path = make(tmp_path / "a.pt", program(size(7), b"K\x01"), **options)
        if not good:
            refuses(path, "unknown type")
        else:
            assert torch.equal(read_tensors(path)["w"], NUMBERS.view(torch.float64)[1:])
            refuses(make(path, program(size(8), b"K\x01"), **options), "reaches outside")
            refuses(make(path, program(size(0), b"K\x09"), **options), "reaches outside")

    def test_views(self, tmp_path, make):
        """The older files describe a part of a block as a storage."""

        def part(first: int, count: int, shape: int, offset: int) -> Path:
            view = b"(" + text("v") + b"K" + bytes([first]) + b"K" + bytes([count]) + b"t"
            place = b"K" + bytes([offset])
            return make(tmp_path / "a.pt", tensor(size(shape), size(1), place, storage(view=view)))

        assert read_tensors(part(4, 8, 8, 0))["w"].tolist() == list(range(4, 12))
        assert read_tensors(part(4, 8, 6, 2))["w"].tolist() == list(range(6, 12))
        assert read_tensors(part(4, 12, 12, 0))["w"].tolist() == list(range(4, 16))
        for wrong in ((4, 8, 9, 0), (4, 8, 7, 2), (4, 0, 1, 0), (4, 13, 1, 0)):
            refuses(part(*wrong), "damaged")

    def test_one_description_is_one_tensor(self, tmp_path, make):
        program = tensor() + b"q\x05s" + text("v") + b"h\x05"
        read = read_tensors(make(tmp_path / "a.pt", program))
        assert read["w"] is read["v"]
        read = read_tensors(make(tmp_path / "a.pt", tensor() + b"s" + text("v") + tensor()))
        assert read["w"] is not read["v"] and read["w"].data_ptr() == read["v"].data_ptr()


class TestOlderFiles:
    @pytest.mark.parametrize("shift", range(8))
    def test_blocks_anywhere(self, tmp_path, shift):
        """A block may start at any byte; where its numbers cannot be looked at, it is read, once for all tensors."""
        name = "v" * (shift + 1)
        read = read_tensors(
            legacy(tmp_path / "a.pt", tensor() + b"s" + text(name) + tensor(size(15), size(1), b"K\x01"))
        )
        assert torch.equal(read["w"], NUMBERS) and torch.equal(read[name], NUMBERS[1:])
        assert read[name].data_ptr() == read["w"].data_ptr() + 4

    def test_blocks_in_a_row(self, tmp_path):
        program = tensor() + b"s" + text("v") + tensor(block=storage(key="1"))
        path = legacy(tmp_path / "a.pt", program, ("0", "1"))
        content = bytearray(path.read_bytes())
        content[-64:] = (NUMBERS + 100).numpy().tobytes()
        path.write_bytes(content)
        read = read_tensors(path)
        assert read["w"].tolist() == NUMBERS.tolist() and read["v"].tolist() == (NUMBERS + 100).tolist()
        path.write_bytes(content[:-1])
        refuses(path, f"it should have {len(content):,} bytes or more, it has {len(content) - 1:,}")

    @pytest.mark.parametrize("keys", [("1",), ("0", "0"), ("0", "1")])
    def test_lists_of_blocks(self, tmp_path, keys):
        refuses(legacy(tmp_path / "a.pt", tensor(), keys), "described nowhere, or is there twice")

    def test_a_block_that_is_not_listed(self, tmp_path):
        refuses(legacy(tmp_path / "a.pt", tensor(), ()), "block 0 is missing")

    @pytest.mark.parametrize(
        "length, words", [(15, "60 bytes, not 16"), (17, "it should have"), (2**61, "it should have")]
    )
    def test_the_length_before_a_block(self, tmp_path, length, words):
        refuses(legacy(tmp_path / "a.pt", tensor(), length=length), "damaged", words)

    @pytest.mark.parametrize(
        "system, fine",
        [
            (b"}" + text("little_endian") + b"\x88s", True), (b"}", True),
            (b"}" + text("little_endian") + b"\x89s", False),
            (b"}" + text("little_endian") + b"Ns", False), (b"N", False), (b"]", False),
        ],
    )  # fmt: skip
    def test_byte_order(self, tmp_path, system, fine):
        path = legacy(tmp_path / "a.pt", tensor())
        content = path.read_bytes()
        wanted = b"}" + text("little_endian") + b"\x88s"
        assert content.count(wanted) == 1
        path.write_bytes(content.replace(wanted, system))
        if fine:
            assert torch.equal(read_tensors(path)["w"], NUMBERS)
        else:
            refuses(path, "big-endian")

    def test_another_number_at_the_start(self, tmp_path):
        path = legacy(tmp_path / "a.pt", tensor())
        path.write_bytes(path.read_bytes().replace(b"\x8a\x0al\xfc", b"\x8a\x0am\xfc", 1))
        refuses(path, "a plain Python pickle")


def entry(content: bytes, name: str) -> int:
    """Where the table of contents tells of a record."""
    at = content.rindex(name.encode())
    assert content[at - 46 : at - 42] == b"PK\x01\x02"
    return at - 46


def changed(path: Path, change: Callable[[bytearray], None]) -> Path:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


class TestRecords:
    @pytest.mark.parametrize("order, fine", [(b"little", True), (None, True), (b"big", False), (b"", False)])
    def test_byte_order(self, tmp_path, order, fine):
        more = [] if order is None else [("a/byteorder", order)]
        path = archive(tmp_path / "a.pt", ("a/data.pkl", one(tensor())), ("a/data/0", BLOCK), *more)
        if fine:
            assert torch.equal(read_tensors(path)["w"], NUMBERS)
        else:
            refuses(path, "big-endian")

    @pytest.mark.parametrize("names", [(), ("a/data.pkl", "b/data.pkl"), ("data.pkl",), ("a/b/data.pkl",)])
    def test_one_root(self, tmp_path, names):
        entries = [(name, one(tensor())) for name in names] or [("a/x", b"")]
        refuses(archive(tmp_path / "a.pt", *entries), "zip archive of something else")

    def test_compressed_pickles_and_blocks(self, tmp_path):
        """A compressed pickle is read; a compressed block cannot be looked at where it lies."""
        path = tmp_path / "a.pt"
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("a/data.pkl", one(tensor()), zipfile.ZIP_DEFLATED)
            made.writestr("a/data/0", BLOCK)
        assert torch.equal(read_tensors(path)["w"], NUMBERS)
        archive(path, ("a/data.pkl", one(tensor())), ("a/data/0", BLOCK), method=zipfile.ZIP_DEFLATED)
        refuses(path, "block 0 is missing or compressed")

    def test_bytes_that_make_no_number(self, tmp_path):
        """A block may end within a number, as the memory that was saved did."""
        assert torch.equal(read_tensors(zipped(tmp_path / "a.pt", tensor(), BLOCK + b"xyz"))["w"], NUMBERS)
        refuses(zipped(tmp_path / "a.pt", tensor(), BLOCK + b"wxyz"), "block 0 has 68 bytes, not 16 numbers")

    def test_tensors_are_paid_for(self, tmp_path, monkeypatch):
        path = zipped(tmp_path / "a.pt", tensor())
        cost = 77  # instructions and values one each, two calls and a dictionary 8 more, the tensor 16 more
        for steps, fine in ((cost, True), (cost - 1, False)):
            monkeypatch.setattr(budget, "FLOOR", steps - path.stat().st_size)
            if fine:
                assert len(read_tensors(path)) == 1
            else:
                refuses(path, "too many values")

    def test_twice(self, tmp_path):
        with pytest.warns(UserWarning, match="Duplicate name"):
            path = archive(tmp_path / "a.pt", ("a/data.pkl", one(tensor())), ("a/data/0", BLOCK), ("a/data/0", BLOCK))
        refuses(path, "record a/data/0 is there twice")

    @pytest.mark.parametrize("flag", [1, 0x800])
    def test_flags(self, tmp_path, flag):
        def change(content: bytearray) -> None:
            content[entry(content, "a/data.pkl") + 8 : entry(content, "a/data.pkl") + 10] = struct.pack("<H", flag)

        path = changed(zipped(tmp_path / "a.pt", tensor()), change)
        if flag == 1:
            refuses(path, "encrypted")
        else:
            assert torch.equal(read_tensors(path)["w"], NUMBERS)

    @pytest.mark.parametrize("name", ["a/data.pkl", "a/data/0"])
    @pytest.mark.parametrize(
        "place, value, words",
        [
            (3, b"X", "not where the archive says"), (30, b"b", "another name or method"), (8, b"\x08",
            "another name or method"),
            (26, b"\x09", "another name or method"), (28, b"\x01", "damaged"), (28, b"\xff\xff", "beyond the end"),
        ],
    )  # fmt: skip
    def test_a_records_own_header(self, tmp_path, name, place, value, words):
        def change(content: bytearray) -> None:
            at = content.index(name.encode()) - 30
            content[at + place : at + place + len(value)] = value

        path = archive(tmp_path / "a.pt", ("a/x", b""), ("a/data.pkl", one(tensor())), ("a/data/0", BLOCK))
        refuses(changed(path, change), "damaged", words)

    @pytest.mark.parametrize("name", ["a/data.pkl", "a/data/0"])
    @pytest.mark.parametrize(
        "place, value, words",
        [
            (16, 1, "checksum"), (20, 10**8, "beyond the end"), (42, 1, "not where"), (42, 10**8, "not where"),
            (20, 63, "damaged"), (24, 63, "damaged"),
        ],
    )  # fmt: skip
    def test_the_table_of_contents(self, tmp_path, name, place, value, words):
        def change(content: bytearray) -> None:
            at = entry(content, name) + place
            struct.pack_into("<I", content, at, value)

        path = changed(zipped(tmp_path / "a.pt", tensor()), change)
        if (name, place) == ("a/data/0", 24):  # the length of what is stored counts, not what it would unpack to
            assert torch.equal(read_tensors(path)["w"], NUMBERS)
        else:
            refuses(path, words)

    def test_a_large_table_of_contents(self, tmp_path, monkeypatch):
        path = zipped(tmp_path / "a.pt", tensor())
        content = path.read_bytes()
        length = len(content) - content.index(b"PK\x01\x02") - 22
        monkeypatch.setattr(records, "CONTENTS", max(length, len(content)))
        assert len(read_tensors(path)) == 1
        monkeypatch.setattr(records, "CONTENTS", 50)
        refuses(path, "table of contents takes more than 50 bytes")

    def test_checksums_of_long_blocks(self, tmp_path, monkeypatch):
        monkeypatch.setattr(records, "CHUNK", 7)
        path = zipped(tmp_path / "a.pt", tensor())
        assert torch.equal(read_tensors(path)["w"], NUMBERS)
        for place in (0, 6, 7, 63):
            content = bytearray(path.read_bytes())
            content[content.index(BLOCK) + place] ^= 1
            (tmp_path / "b.pt").write_bytes(content)
            refuses(tmp_path / "b.pt", "block 0 has another checksum")

    def test_blocks_that_share_bytes(self, tmp_path):
        refuses(hostile.write(tmp_path, "archive: a block in a block", 1), "two of its records share bytes")

    def test_what_compressed_records_unpack_to(self, tmp_path, monkeypatch):
        path = tmp_path / "a.pt"
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("a/data.pkl", one(tensor()), zipfile.ZIP_DEFLATED)
            made.writestr("a/data/0", BLOCK)
        monkeypatch.setattr(budget, "INFLATED", len(one(tensor())))
        assert torch.equal(read_tensors(path)["w"], NUMBERS)
        monkeypatch.setattr(budget, "INFLATED", len(one(tensor())) - 1)
        refuses(path, "compressed records unpack to more than")
        refuses(hostile.write(tmp_path, "archive: pickle that unpacks, lying", 5000), "has 5 bytes, the archive says 4")

    def test_damage_in_what_is_not_read(self, tmp_path):
        """A block that no tensor looks at may be anything."""
        path = archive(tmp_path / "a.pt", ("a/data.pkl", one(tensor())), ("a/data/0", BLOCK), ("a/data/1", b"x" * 9))
        changed(path, lambda content: content.__setitem__(content.index(b"x" * 9), 0))
        assert torch.equal(read_tensors(path)["w"], NUMBERS)


def script(path: Path, program: bytes, code: bytes = b"") -> Path:
    return archive(
        path, ("a/data.pkl", b"\x80\x02" + program + b"."), ("a/data/0", BLOCK), ("a/constants.pkl", b"\x80\x02)."),
        ("a/code/__torch__.py", code),
    )  # fmt: skip


class TestModules:
    CODE = (
        b'class M(Module):\n  __parameters__ = ["b", "a", ]\n  __buffers__ = ["c", ]\n  x : int\n'
        b'class M(Module):\n  __parameters__ = []\n  __buffers__ = []\nclass N(Module):\n  __parameters__ = ["a", ]\n'
    )

    def test_declarations(self):
        assert declared(self.CODE.decode()) == {"M": ["b", "a", "c"]}
        assert declared("") == {}

    def test_names_and_their_order(self, tmp_path):
        fields = b"}(" + b"".join(text(name) + tensor() for name in "abcd") + text("training") + b"\x88u"
        path = script(tmp_path / "a.pt", MODULE + fields + b"b", self.CODE)
        read = read_tensors(path)
        assert list(read) == ["b", "a", "c"] and set(read.parts["attributes"]) == {"d"}
        path = script(tmp_path / "a.pt", MODULE + fields + b"b")
        assert list(read_tensors(path)) == ["a", "b", "c", "d"]
        path = script(tmp_path / "a.pt", MODULE.replace(b"M", b"N") + fields + b"b", self.CODE)
        assert list(read_tensors(path)) == ["a", "b", "c", "d"]

    def test_one_module_under_two_names(self, tmp_path):
        inner = MODULE + b"q\x00}" + text("w") + tensor() + b"sb"
        program = MODULE + b"}(" + text("x") + inner + text("y") + b"h\x00ub"
        read = read_tensors(script(tmp_path / "a.pt", program))
        assert list(read) == ["x.w", "y.w"] and read["x.w"] is read["y.w"]

    @pytest.mark.parametrize("levels, fine", [(100, True), (101, False)])
    def test_depth(self, tmp_path, levels, fine):
        program = (MODULE + b"}" + text("a")) * levels + MODULE + b"}" + text("w") + tensor() + b"sb" + b"sb" * levels
        path = script(tmp_path / "a.pt", program)
        if fine:
            assert list(read_tensors(path)) == ["a." * levels + "w"]
        else:
            refuses(path, "nested in a circle, or too deeply")

    def test_a_circle(self, tmp_path):
        refuses(hostile.write(tmp_path, "archive: modules in a circle", 1), "nested in a circle, or too deeply")

    @pytest.mark.parametrize("program", [b"}", tensor(), b"N"])
    def test_without_a_module(self, tmp_path, program):
        refuses(script(tmp_path / "a.pt", program), "without a module")


def test_names_of_several_bytes(tmp_path):
    """A root and keys outside ASCII, as torch writes them: in UTF-8 with its flag."""
    path = archive(tmp_path / "a.pt", ("é/data.pkl", one(tensor(block=storage(key="ü")))), ("é/data/ü", BLOCK))
    assert torch.equal(read_tensors(path)["w"], NUMBERS)
    (tmp_path / "modèle").mkdir()
    torch.save({"w": NUMBERS}, tmp_path / "modèle" / "poids é.pt")
    assert torch.equal(read_tensors(tmp_path / "modèle" / "poids é.pt")["w"], NUMBERS)


def test_memory_that_is_not_there(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.pt", tensor())

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(files, "read_zip", full)
    with pytest.raises(UserError, match="more memory than there is"):
        read_tensors(path)


@pytest.mark.parametrize("number", [b"M\xe9\x43.", b"M\xe8\x03.", b"K\x01.", b"N.", b"\x88."])
def test_an_old_file_of_another_protocol(tmp_path, number):
    """torch refuses it too: whatever changed that number has changed others."""
    path = legacy(tmp_path / "a.pt", tensor())
    assert len(read_tensors(path)) == 1
    content = path.read_bytes()
    assert content.count(b"M\xe9\x03.") == 1
    path.write_bytes(content.replace(b"M\xe9\x03.", number))
    with pytest.raises(UserError, match="second value is no 1001"):
        read_tensors(path)
