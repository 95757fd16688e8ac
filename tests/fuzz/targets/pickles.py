"""Pickles that a grammar makes: whole programs of the pickle machine with odd numbers, names, depths and cycles.

They come in a zip archive, in a file of before 2020, in a TorchScript archive and alone. What is read must be what
torch reads with `weights_only=True`, where it reads the file too.
"""

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from checkpoints_convert.__main__ import main
from checkpoints_convert.reading.files import read_tensors
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.command import command
from tests.fuzz.odd import INTERESTING, TEXTS, damaged
from tests.fuzz.same import assert_same_tensors
from tests.fuzz.targets.damage import read_by_library

STORAGES = (
    "Float",
    "Half",
    "Double",
    "Long",
    "Int",
    "Bool",
    "Byte",
    "BFloat16",
    "ComplexFloat",
    "Untyped",
    "QInt8",
    "",
)
HOSTILE = (
    "os system",
    "builtins eval",
    "torch load",
    "torch.nn.modules.linear Linear",
    "__main__ Net",
    "posix a\ud800",
)
PLAIN = (
    "collections OrderedDict", "collections Counter", "builtins set", "builtins frozenset", "builtins complex",
    "builtins bytearray", "_codecs encode", "torch Size", "torch device", "argparse Namespace", "numpy dtype",
    "numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state", "torch._tensor _rebuild_from_type_v2", "torch float32",
    "torch.nn.parameter Parameter", "torch Tensor", "torch FloatStorage", "torch.jit._pickle build_intlist",
)  # fmt: skip
BLOCK = 64  # bytes of each block of numbers
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def text(words: str) -> bytes:
    """Push a text."""
    data = words.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def whole(number: int) -> bytes:
    """Push a whole number."""
    if 0 <= number < 256:
        return b"K" + bytes([number])
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data if len(data) < 256 else b"\x8b" + struct.pack("<I", len(data)) + data


def name(words: str) -> bytes:
    """Push a class or function by its module and name."""
    return b"c" + words.replace(" ", "\n").encode("utf-8", "surrogatepass") + b"\n"


def wholes(numbers: list[int]) -> bytes:
    """Push a tuple of whole numbers."""
    return b"(" + b"".join(map(whole, numbers)) + b"t"


@dataclass
class Program:
    """Writes pickle programs that leave one value on the stack each.

    Args:
        rng: random numbers.
        oddness: how often something is odd, 0 to 1.
    """

    rng: Random
    oddness: float
    remembered: int = 0
    blocks: list[str] = field(default_factory=list)

    def odd(self) -> bool:
        return self.rng.random() < self.oddness

    def number(self, usual: int) -> int:
        """The usual number, or an odd one."""
        if not self.odd():
            return usual
        return self.rng.choice(
            (*INTERESTING, -usual, usual + 1, usual * 1000, -(2**63), 2 ** (8 * self.rng.choice((20, 200))))
        )

    def storage(self) -> bytes:
        """Push a block of numbers."""
        rng = self.rng
        key = str(len(self.blocks)) if not self.blocks or rng.random() < 0.6 else rng.choice(self.blocks)
        self.blocks.append(key)
        kind = rng.choice(STORAGES) if self.odd() else "Float"
        tag = rng.choice(("storage", "module", "")) if self.odd() else "storage"
        shown = text(rng.choice((key, *TEXTS))) if self.odd() else text(key)
        view = self.view() if rng.random() < 0.1 else b""
        kind_code = self.value(3) if self.odd() else name(f"torch {kind}Storage")
        return b"(" + text(tag) + kind_code + shown + text("cpu") + whole(self.number(BLOCK // 4)) + view + b"tQ"

    def view(self) -> bytes:
        """Push the sixth part of old files: a window on another block."""
        if self.odd():
            return self.value(2)
        return b"(" + text("1") + whole(self.number(0)) + whole(self.number(8)) + b"t"

    def tensor(self) -> bytes:
        """Push a tensor."""
        rng = self.rng
        shape = [self.number(n) for n in rng.choice(([2, 3], [4], [], [16], [2, 2, 2], [0, 3], [1] * 70))]
        stride, step = [], 1
        for length in reversed(shape):
            stride.insert(0, self.number(step))
            step *= max(length, 1)
        if self.odd():
            stride = stride[:-1] if rng.random() < 0.5 else [0] * len(stride)
        offset = whole(self.number(rng.choice((0, 0, 1))))
        sizes = b"".join(self.value(3) if self.odd() else wholes(n) for n in (shape, stride))
        rest = b"\x89" + name("collections OrderedDict") + b")R"
        version = rng.choice(("_v2", "_v2", "_v2", "", "_v3"))
        extra = rest if version == "_v2" else rest + name("torch float32") if version == "_v3" else b""
        built = name(f"torch._utils _rebuild_tensor{version}") + b"(" + self.storage() + offset + sizes + extra + b"tR"
        if rng.random() < 0.15:
            return name("torch._utils _rebuild_parameter") + b"(" + built + rest + b"tR"
        return built

    def value(self, depth: int = 0) -> bytes:
        """Push any value."""
        rng = self.rng
        makers: list[Callable[[int], bytes]] = [self.constant, self.constant, self.called, self.repeated, self.chain]
        if depth < 4:
            makers += [self.container, self.container, lambda _: self.tensor()]
        code = rng.choice(makers)(depth)
        if rng.random() < 0.2:
            code += b"r" + struct.pack("<I", self.remembered)
            self.remembered += 1
        return code

    def constant(self, _: int) -> bytes:
        rng = self.rng
        return rng.choice(
            (
                b"N",
                b"\x88",
                b"\x89",
                whole(self.number(3)),
                b"G" + rng.randbytes(8),
                b"I1" + b"0" * rng.choice((0, 400)) + b"\n",
                text(rng.choice(TEXTS)),
                b"U\x03abc",
                b"C\x02" + rng.randbytes(2),
                b"V\\ud800x\n",
                b"S'a'\n",
                b"F1.5\n",
                b"L5L\n",
                b"\x96" + struct.pack("<Q", 3) + b"abc",
                b"\x8d" + struct.pack("<Q", 1) + b"a",
                b")",
                b"]",
                b"}",
                b"\x8f",
            )
        )

    def container(self, depth: int) -> bytes:
        rng = self.rng
        items = [self.value(depth + 1) for _ in range(rng.choice((0, 1, 2, 3, 6)))]
        keys = [self.key(depth) for _ in items]
        pairs = b"".join(key + item for key, item in zip(keys, items))
        kind = rng.randrange(7)
        joined = b"".join(items)
        return (
            b"(" + joined + b"t",
            b"](" + joined + b"e",
            b"}(" + pairs + b"u",
            b"(" + pairs + b"d",
            b"(" + joined + b"l",
            b"\x8f(" + joined + b"\x90",
            name("collections OrderedDict") + b")R(" + pairs + b"u",
        )[kind]

    def key(self, depth: int) -> bytes:
        return self.value(depth + 2) if self.odd() else text(self.rng.choice("abcdefgh") + ".weight")

    def called(self, depth: int) -> bytes:
        """Push a name, or what a call of it gives."""
        rng = self.rng
        words = rng.choice(HOSTILE) if self.odd() and rng.random() < 0.3 else rng.choice(PLAIN)
        callee = name(words) if rng.random() < 0.8 else text(words.split()[0]) + text(words.split()[1]) + b"\x93"
        given = b"(" + b"".join(self.value(depth + 2) for _ in range(rng.randrange(4))) + b"t"
        ending = rng.choice((b"R", b"R", b"\x81", b"R}b", b"R" + self.constant(0) + b"b", b"}\x92"))
        return callee if rng.random() < 0.2 else callee + given + ending

    def repeated(self, _: int) -> bytes:
        """Push something remembered, or a list that doubles itself again and again."""
        rng = self.rng
        if self.remembered and rng.random() < 0.7:
            return b"j" + struct.pack("<I", rng.randrange(self.remembered))
        if not self.odd():
            return b"N"
        first = self.remembered
        self.remembered += 1
        put, get = b"r" + struct.pack("<I", first), b"j" + struct.pack("<I", first)
        opening, closing = rng.choice(((b"(", b"t"), (b"(", b"l"), (b"(" + text("k") + b"N", b"d")))
        return text("x") + put + (b"0" + opening + get + get + closing + put) * rng.choice((3, 20, 70))

    def chain(self, _: int) -> bytes:
        """Push tuples in tuples, or lists in lists."""
        rng = self.rng
        if not self.odd():
            return b"K\x01"
        count = rng.choice((10, 500, 3000, 30_000))
        return b")" + b"\x85" * count if rng.random() < 0.5 else b"]" * count + b"a" * (count - 1)

    def state_dict(self) -> bytes:
        """A whole program: a dictionary of tensors, and what else there is."""
        rng = self.rng
        items = b""
        for at in range(rng.choice((1, 2, 4))):
            items += (self.key(0) if self.odd() else text(f"layer.{at}.weight")) + self.tensor()
        for at in range(rng.choice((0, 0, 1, 3))):
            items += text(f"extra{at}") + self.value()
        if rng.random() < 0.4:
            items = text("state_dict") + b"}(" + items + b"u" + text("epoch") + self.value(3)
        return b"\x80\x02}(" + items + b"u."


def junk(rng: Random, program: bytes) -> bytes:
    """Sometimes instructions in the middle that do not belong there."""
    if rng.random() < 0.75:
        return program
    return damaged(rng, program)


def blocks(rng: Random, count: int) -> list[bytes]:
    return [rng.randbytes(BLOCK) for _ in range(count)]


def in_zip(program: bytes, rng: Random, script: bool = False) -> bytes:
    """torch.save's archive, or torch.jit.save's."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/byteorder", "little")
        for at, block in enumerate(blocks(rng, 4)):
            archive.writestr(f"a/data/{at}", block)
        archive.writestr("a/version", "3\n")
        if script:
            archive.writestr("a/constants.pkl", b"\x80\x02).")
    return buffer.getvalue()


def in_legacy(program: bytes, rng: Random) -> bytes:
    """torch.save's file of before 2020."""
    system = b"\x80\x02}(" + text("little_endian") + b"\x88" + text("protocol_version") + b"M\xe9\x03u."
    keys = b"\x80\x02](" + b"".join(text(str(at)) for at in range(rng.choice((1, 2, 4)))) + b"e."
    ends = b"".join(struct.pack("<Q", rng.choice((16, 16, 16, 0, 2**60))) + block for block in blocks(rng, 4))
    return b"\x80\x02" + whole(LEGACY_MAGIC) + b"." + b"\x80\x02M\xe9\x03." + system + program + keys + ends


def modules(rng: Random, program: Program) -> bytes:
    """A TorchScript program: instances in instances, some of them several times."""
    make = name("__torch__ M") + b")\x81"
    code = make + b"}(" + text("w") + program.tensor() + text("n") + program.value(2) + b"ub"
    for _ in range(rng.choice((1, 2, 5, 30))):
        program.remembered += 1
        put, get = (op + struct.pack("<I", program.remembered) for op in (b"r", b"j"))
        inner = text("x") + get + (text("y") + get if program.odd() else b"") + text("w") + program.tensor()
        code += put + b"0" + make + b"}(" + inner + b"ub"
    return b"\x80\x02" + code + b"."


def make(kind: str, rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A file of that kind."""
    program = Program(rng, rng.choice((0.0, 0.02, 0.1, 0.4)))
    values = {"command": rng.random() < 0.1, "part": rng.choice((None, None, None, "state_dict", "extra0", "\ud800"))}
    if kind == "script":
        return values, {"a.pt": in_zip(junk(rng, modules(rng, program)), rng, script=True)}
    code = junk(rng, program.state_dict())
    return values, {
        "a.pt": {"zip": lambda: in_zip(code, rng), "legacy": lambda: in_legacy(code, rng), "raw": lambda: code}[kind]()
    }


def run(values: Mapping[str, Any], folder: Path) -> str:
    """Read it; what torch reads too is the same."""
    path = folder / "a.pt"
    part = values["part"] if values["part"] != "\ud800" else None
    if values["command"]:
        given = [] if part is None else ["--part", part]
        code, _ = command(main, "inspect", str(path), "--all", *given)
        return "inspected" if code == 0 else "refused"
    checkpoint = read_tensors(path, part)
    for name_, tensor in checkpoint.items():
        tensor.sum() if not tensor.is_complex() else None  # each number can be read
        if not isinstance(name_, str):
            raise Wrong(f"a tensor's name is no text: {name_!r}")
    if checkpoint.kind != "torchscript" and (theirs := read_by_library(path)):
        for name_, tensors in checkpoint.parts.items():
            assert_same_tensors(tensors, theirs.get(name_, {}), "another reading than the library's")
    return "read"


def maker(kind: str) -> Callable[[Random], tuple[dict[str, Any], dict[str, bytes]]]:
    return lambda rng: make(kind, rng)


TARGETS = [Target(f"pickle-{kind}", maker(kind), run, share=0.7) for kind in ("zip", "legacy", "script", "raw")]
