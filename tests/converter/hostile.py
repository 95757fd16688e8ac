"""Files that ask for more than any machine has: written by hand, instruction by instruction.

`PICKLES` are programs for the pickle machine, `ARCHIVES`, `SAFETENSORS` and `INDICES` whole files. Each is a function
of a `scale`: about how many instructions, records or letters it has. `write` makes a file of one.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."
BLOCKS = b"\x80\x02]X\x01\x00\x00\x000a." + struct.pack("<Q", 16) + bytes(64)  # one block of 16 numbers
BIG = b"\x8a\xff" + b"\xff" * 254 + b"\x7f"  # a whole number of 2039 bits


def text(words: str) -> bytes:
    """An instruction that pushes a text."""
    return b"X" + struct.pack("<I", len(words.encode())) + words.encode()


def call(name: str, arguments: bytes) -> bytes:
    """Instructions that call something with a tuple of what the arguments push."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"(" + arguments + b"tR"


def storage(length: int = 16, key: str = "0", kind: str = "FloatStorage", view: bytes = b"") -> bytes:
    """Instructions that push a storage."""
    head = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    return head + b"J" + struct.pack("<i", length) + view + b"tQ"


def tensor(shape: bytes = b"(K\x10t", stride: bytes = b"(K\x01t", offset: bytes = b"K\0", block: bytes = b"") -> bytes:
    """Instructions that push a tensor."""
    return call("torch._utils._rebuild_tensor_v2", (block or storage()) + offset + shape + stride + b"\x89}")


def beside(program: bytes) -> bytes:
    """A dictionary of one good tensor, and under "extra" what a program pushes."""
    return b"\x80\x04}(" + text("w") + tensor() + text("extra") + program + b"u."


def doubled(opening: bytes, closing: bytes, levels: int = 60) -> bytes:
    """Something that holds itself twice, so many levels deep: 2^levels leaves, a few bytes each level."""
    return text("A" * 10) + b"q\0" + (b"0" + opening + b"h\0h\0" + closing + b"q\0") * levels


def collisions(count: int) -> bytes:
    """Keys of a dictionary that all have one hash."""
    prime = 2**61 - 1
    numbers = (1 + i * prime for i in range(1, count))
    return b"}(" + b"".join(b"\x8a\x10" + n.to_bytes(16, "little") + b"N" for n in numbers) + b"u"


PICKLES: dict[str, Callable[[int], bytes]] = {
    "deep tuple": lambda n: beside(b")" + b"\x85" * n),
    "deep list": lambda n: beside(b"]" * n + b"a" * (n - 1)),
    "deep dictionary": lambda n: beside((b"}" + text("a")) * n + b"N" + b"s" * n),
    "deep instances": lambda n: beside((b"cargparse\nNamespace\n)R}" + text("a")) * (n // 8) + b"N" + b"sb" * (n // 8)),
    "deep, seen from below": lambda n: beside(b"}(" + b"K\0]q\0" + b"".join(
        b"J" + struct.pack("<i", i) + b"]h\0aq\0" for i in range(1, n)) + b"u"),
    "deep key": lambda n: beside(b"})" + b"\x85" * n + b"Ns"),
    "deep member of a set": lambda n: beside(b"\x8f()" + b"\x85" * n + b"\x90"),
    "deep member of a frozen set": lambda n: beside(b"()" + b"\x85" * n + b"\x91"),
    "deep type of number": lambda n: beside(call(
        "numpy.core.multiarray.scalar", call("numpy.dtype", b")" + b"\x85" * n) + text("ab"))),
    "deep device": lambda n: beside(call("torch.device", b")" + b"\x85" * n)),
    "deep name": lambda n: beside(b")" + b"\x85" * n + text("x") + b"\x93"),
    "deep storage": lambda n: beside(b"(" + text("storage") + b")" + b"\x85" * n + text("0") + text("c") + b"K\1tQ"),
    "deep view": lambda n: beside(storage(view=b")" + b"\x85" * n)),
    "deep arguments of a type": lambda n: b"\x80\x04" + b"ctorch._tensor\n_rebuild_from_type_v2\nq\0" + b"(" * n +
        b"(h\0ctorch\nTensor\n)}t" * 2 + b"R.",
    "type of a type": lambda n: beside(b"ctorch._tensor\n_rebuild_from_type_v2\nq\1ctorch\nTensor\nq\0" +
        b"0" + b"(h\1h\0" * (n // 16) + b")" + b"Nt" * (n // 16) + b"q\2" + b"0h\1h\2R"),
    "marks": lambda n: b"\x80\x04" + b"(" * n + b".",
    "doubled list": lambda n: beside(doubled(b"(", b"l")),
    "doubled tuple": lambda n: beside(doubled(b"", b"\x86")),
    "doubled dictionary": lambda n: beside(
        text("A") + b"q\0" + (b"0}(" + text("a") + b"h\0" + text("b") + b"h\0uq\0") * 60),
    "doubled instance": lambda n: beside(
        text("A") + b"q\0" + (b"0cargparse\nNamespace\n)R}(" + text("a") + b"h\0" + text("b") + b"h\0ubq\0") * 60),
    "doubled name": lambda n: beside(doubled(b"(", b"l") + text("x") + b"\x93"),
    "doubled device": lambda n: beside(call("torch.device", doubled(b"(", b"l"))),
    "doubled list at the edge": lambda n: beside(doubled(b"(", b"l", 40)),
    "long text often": lambda n: beside(text("A" * n) + b"q\0" + b"0(" + b"h\0" * n + b"l"),
    "long name often": lambda n: b"\x80\x04" + text("A" * n) + b"q\0" + b"h\0h\0\x930" * n + b"N.",
    "long bytes often": lambda n: beside(text("A" * n) + b"q\0" + b"0("
        + call("_codecs.encode", b"h\0") * (n // 50) + b"l"),
    "list that holds itself": lambda n: beside(b"]q\0h\0a"),
    "dictionary that holds itself": lambda n: beside(b"}q\0" + text("a") + b"h\0s"),
    "refused names": lambda n: b"\x80\x02" + b"".join(b"cm\nn%d\n0" % i for i in range(n)) + b"N.",
    "one refused name often": lambda n: b"\x80\x02" + b"cm\nn\n0" * n + b"N.",
    "big dictionary copied": lambda n: beside(b"}(" + b"".join(
        b"J" + struct.pack("<i", i) + b"N" for i in range(n)) + b"uq\0" + call("collections.OrderedDict", b"h\0") * n),
    "big list copied": lambda n: beside(b"(" + b"N" * n + b"lq\0" + b"0(" + call("torch.Size", b"h\0") * n + b"l"),
    "big list made a set": lambda n: beside(
        b"(" + b"N" * n + b"lq\0" + b"0(" + call("builtins.frozenset", b"h\0") * n + b"l"),
    "big state often": lambda n: beside(b"}(" + b"".join(
        text(f"a{i}") + b"N" for i in range(n)) + b"uq\0cargparse\nNamespace\n)R" + b"h\0b" * n),
    "big arguments often": lambda n: beside(
        b"(" + b"N" * n + b"tq\0" + b"ctorch._utils\n_rebuild_parameter\nq\1" + b"0h\1h\0R" * n),
    "empty sets": lambda n: beside(b"(" + b"\x8f" * n + b"l"),
    "empty dictionaries": lambda n: beside(b"(" + b"}" * n + b"l"),
    "instances": lambda n: beside(b"cargparse\nNamespace\nq\0" + b"0(" + b"h\0)R" * n + b"l"),
    "storages": lambda n: beside(b"(" + b"".join(storage(16, str(i)) for i in range(n)) + b"l"),
    "tensors": lambda n: beside(b"(" + tensor() * n + b"l"),
    "one tensor often": lambda n: beside(tensor() + b"q\0" + b"0(" + b"h\0" * n + b"l"),
    "zero bytes by the million": lambda n: beside(call("builtins.bytearray", b"\x8a\x06\xff\xff\xff\xff\xff\x00")),
    "shape of big numbers": lambda n: beside(BIG + b"q\1" + tensor(b"(" + b"h\1" * n + b"t", b"(" + b"h\1" * n + b"t")),
    "shape of many axes": lambda n: beside(tensor(b"(" + b"K\1" * n + b"t", b"(" + b"K\1" * n + b"t")),
    "shape of 2^63": lambda n: beside(tensor(b"(K\0\x8a\x09" + b"\xff" * 8 + b"\0t", b"(K\1K\1t")),
    "shape of 2^62 twice, and 0": lambda n: beside(tensor(
        b"(K\0" + b"\x8a\x08" + (2**62).to_bytes(8, "little") * 1 + b"\x8a\x08" + (2**62).to_bytes(8, "little") + b"t",
        b"(K\1K\1K\1t")),
    "offset of 2^62 of an empty tensor": lambda n: beside(tensor(
        b"(K\0t", b"(K\1t", b"\x8a\x08" + (2**62).to_bytes(8, "little"))),
    "stride of 2^63": lambda n: beside(tensor(b"(K\2t", b"(\x8a\x09" + b"\xff" * 8 + b"\0t")),
    "true for a size": lambda n: beside(tensor(b"(\x88t", b"(K\1t")),
    "number of many bytes": lambda n: beside(b"\x8b" + struct.pack("<I", n) + b"\x7f" * n),
    "number of many digits": lambda n: beside(b"I" + b"9" * n + b"\n"),
    "long number of many digits": lambda n: beside(b"L" + b"9" * n + b"L\n"),
    "keys of one hash": lambda n: beside(collisions(n)),
    "text longer than the file": lambda n: b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc.",
    "bytes longer than the file": lambda n: b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.",
    "line without an end": lambda n: b"\x80\x02S'" + b"a" * n,
    "memory place far away": lambda n: beside(b"Nr\xff\xff\xff\xff"),
    "nothing to take": lambda n: b"\x80\x020" * n,
    "view of three texts": lambda n: beside(storage(view=b"(" + text("a") * 3 + b"t")),
    "view of one number": lambda n: beside(storage(view=b"K\1")),
    "view beyond its block": lambda n: beside(storage(view=b"(" + text("a") + b"K\1K\x10t")),
    "storage of a negative length": lambda n: beside(storage(-1)),
    "storage of a text": lambda n: beside(b"(" + text("storage") * 2 + text("0") + text("cpu") + b"K\1tQ"),
    "one block of two kinds": lambda n: beside(b"(" + storage() + storage(8, kind="DoubleStorage") + b"l"),
    "numpy number too short": lambda n: beside(
        call("numpy.core.multiarray.scalar", call("numpy.dtype", text("f4")) + b"C\2ab")),
    "numpy number of no type": lambda n: beside(call("numpy.core.multiarray.scalar", b"NC\2ab")),
    "numpy number of another type": lambda n: beside(
        call("numpy.core.multiarray.scalar", call("numpy.dtype", b"}") + b"C\2ab")),
    "complex of a text": lambda n: beside(call("builtins.complex", text("1" * n))),
    "pairs that are none": lambda n: beside(call("collections.OrderedDict", b"(K\1K\2l")),
    "arguments by name": lambda n: beside(b"ccollections\nOrderedDict\n)}" + text("a") + b"Ns\x92"),
}  # fmt: skip


def zipped(program: bytes, *, method: int = zipfile.ZIP_STORED, more: dict[str, bytes] | None = None) -> bytes:
    """An archive with a pickle, one block of 64 bytes, and other records, compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", program, method)
        archive.writestr("a/data/0", bytes(64))
        for name, content in (more or {}).items():
            archive.writestr(f"a/{name}", content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def script(program: bytes, code: bytes = b"") -> bytes:
    """A TorchScript archive."""
    return zipped(b"\x80\x02" + program + b".", more={"constants.pkl": b"\x80\x02).", "code/__torch__.py": code})


def bomb(method: int, name: str, size: int) -> bytes:
    """An archive with a record that unpacks to much more than it takes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        if name != "data.pkl":
            archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr(f"a/{name}", bytes(size), method)
    return buffer.getvalue()


def lying_bomb(size: int) -> bytes:
    """The same, and both headers say that it unpacks to four bytes."""
    content = bomb(zipfile.ZIP_DEFLATED, "data.pkl", size)
    return content.replace(struct.pack("<I", size), struct.pack("<I", 4))


def overlapping() -> bytes:
    """An archive with a block in which another block lies, as a record of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", beside(b"N"))
        archive.writestr("a/data/1", bytes(64))
        inner = buffer.getvalue()[archive.getinfo("a/data/1").header_offset :]
        archive.writestr("a/data/0", inner)
        outer = archive.getinfo("a/data/0").header_offset + 30 + len("a/data/0")
        archive.getinfo("a/data/1").header_offset = outer
    return buffer.getvalue()


MODULE = b"c__torch__\nM\n)\x81"
ARCHIVES: dict[str, Callable[[int], bytes]] = {
    "modules that are paths": lambda n: script(
        MODULE + b"q\0" + (b"0" + MODULE + b"}(" + text("a") + b"h\0" + text("b") + b"h\0ubq\0") * 40),
    "modules in a circle": lambda n: script(MODULE + b"q\0}" + text("a") + b"h\0sb"),
    "modules in each other": lambda n: script((MODULE + b"}" + text("a")) * n + MODULE + b"sb" * n),
    "attributes in each other": lambda n: script(MODULE + b"}" + text("a") + b"]" * n + b"a" * (n - 1) + b"sb"),
    "one module under many names": lambda n: script(
        MODULE + b"}(" + b"".join(text(f"x{i}") + b"N" for i in range(n)) + b"ubq\0" +
        MODULE + b"}(" + b"".join(text(f"a{i}") + b"h\0" for i in range(n)) + b"ub"),
    "long names of modules": lambda n: script(
        (MODULE + b"}" + text("a" * n)) * 90 + MODULE + b"}(" + b"".join(
            text(f"x{i}") + b"N" for i in range(n)) + b"ub" + b"sb" * 90),
    "code for each module": lambda n: zipped(
        b"\x80\x02" + MODULE + b"}(" + b"".join(
            text(f"a{i}") + b"c__torch__.m\nM%d\n)\x81" % i for i in range(n)) + b"ub.",
        more={"constants.pkl": b"\x80\x02).", "code/__torch__/m.py": b"x" * 50 * n}),
    "files of code": lambda n: zipped(
        b"\x80\x02" + MODULE + b"}(" + b"".join(
            text(f"a{i}") + b"c__torch__.m%d\nM\n)\x81" % i for i in range(20)) + b"ub.",
        more={"constants.pkl": b"\x80\x02)."} | {f"code/__torch__/m{i}.py": b"x" * 1_000_000 for i in range(20)}),
    "code of underscores": lambda n: script(
        MODULE + b"}" + text("w") + tensor() + b"sb", b"class M(Module):\n  __" + b"_" * n + b"\n" + b"class M" * n),
    "many declared names": lambda n: script(
        MODULE + b"q\0" + MODULE + b"}(" + b"".join(text(f"a{i}") + b"h\0" for i in range(n)) + b"ub",
        b'class M(Module):\n  __parameters__ = [' + b'"a", ' * n + b"]\n  __buffers__ = []\n"),
    "pickle that unpacks": lambda n: bomb(zipfile.ZIP_DEFLATED, "data.pkl", 1000 * n),
    "pickle that unpacks, lying": lambda n: lying_bomb(1000 * n),
    "pickle that unpacks by bzip2": lambda n: bomb(zipfile.ZIP_BZIP2, "data.pkl", 1000 * n),
    "pickle that unpacks by lzma": lambda n: bomb(zipfile.ZIP_LZMA, "data.pkl", 1000 * n),
    "byte order that unpacks": lambda n: bomb(zipfile.ZIP_DEFLATED, "byteorder", 1000 * n),
    "byte order that unpacks by bzip2": lambda n: bomb(zipfile.ZIP_BZIP2, "byteorder", 1000 * n),
    "small pickle of many values": lambda n: zipped(beside(b"(" + b"}" * 50 * n + b"l"), method=zipfile.ZIP_DEFLATED),
    "a block in a block": lambda n: overlapping(),
    "many records": lambda n: zipped(beside(b"N"), more={f"data/x{i}": b"" for i in range(n // 10)}),
}  # fmt: skip


def header(content: bytes, data: int = 8) -> bytes:
    """A .safetensors file with this header."""
    return struct.pack("<Q", len(content)) + content + bytes(data)


def one(shape: str = "[2]", ends: str = "[0,8]", name: str = '"w"') -> bytes:
    """The header of one tensor."""
    return f'{{{name}:{{"dtype":"F32","shape":{shape},"data_offsets":{ends}}}}}'.encode()


SAFETENSORS: dict[str, Callable[[int], bytes]] = {
    "number of many digits": lambda n: header(one(ends=f"[0,{'9' * 4300}]")),
    "shape of many digits": lambda n: header(one(shape=f"[{'9' * 4300}]")),
    "length of 2^62": lambda n: header(one(ends=f"[0,{2**62}]")),
    "shape of many axes": lambda n: header(one(shape=f"[2{',1' * n}]")),
    "shape of 2^62 and 0": lambda n: header(one(shape=f"[0,{2**62},{2**62}]", ends="[0,0]"), 0),
    "many names": lambda n: header(json.dumps(
        {f"w{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20 * n)}).encode(), 0),
    "deep header": lambda n: header(b'{"a":' + b"[" * n + b"]" * n + b"}"),
    "header longer than the file": lambda n: struct.pack("<Q", 2**63) + b"{" + bytes(50),
    "name of control letters": lambda n: header(one(name='"\\u001b[2J"')),
    "name of a surrogate": lambda n: header(one(name='"\\ud800"')),
    "long name": lambda n: header(one(name=f'"{"a" * n}"')),
    "no name": lambda n: header(one(name='""')),
    "a list": lambda n: header(b"[" + b"[]," * n + b"[]]"),
}  # fmt: skip
INDICES: dict[str, object] = {
    "empty": {"weight_map": {}},
    "itself": {"weight_map": {"w": "model.safetensors.index.json"}},
    "another index": {"weight_map": {"w": "other.safetensors.index.json"}},
    "list": {"weight_map": ["a"]},
    "number": {"weight_map": {"w": 5}},
    "nothing": {},
    "no object": [1],
    "folder": {"weight_map": {"w": "folder.bin"}},
    "parent": {"weight_map": {"w": ".."}},
    "nul": {"weight_map": {"w": "a\0b"}},
    "surrogate": {"weight_map": {"w": "\ud800"}},
    "control": {"weight_map": {"w": "\x1b[2J"}},
    "long": {"weight_map": {"w": "a" * 5000}},
    "no name": {"weight_map": {"w": ""}},
}


def names() -> list[str]:
    """Of every file that `write` can make."""
    kinds = {"pickle": PICKLES, "legacy": PICKLES, "zip": PICKLES, "archive": ARCHIVES, "safetensors": SAFETENSORS}
    return [f"{kind}: {name}" for kind, table in kinds.items() for name in table] + [f"index: {n}" for n in INDICES]


def write(folder: Path, name: str, scale: int) -> Path:
    """The file of this name in a folder."""
    kind, _, case = name.partition(": ")
    if kind == "index":
        (folder / "folder.bin").mkdir()
        (folder / "other.safetensors.index.json").write_text(json.dumps(INDICES["itself"]))
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps(INDICES[case]))
        return path
    path = folder / ("a.safetensors" if kind == "safetensors" else "a.pt")
    content = {"archive": ARCHIVES, "safetensors": SAFETENSORS}.get(kind, PICKLES)[case](scale)
    if kind == "legacy":
        content = MAGIC + content + BLOCKS
    path.write_bytes(zipped(content) if kind == "zip" else content)
    return path
