"""Reading a pickle without running it.

A pickle is a small program: "push this text", "make a list", "import this function and call it". Python's own reader
imports and calls whatever the file names, so opening a hostile checkpoint runs hostile code. This reader has the
stack and the memo of such a program and no import at all: a name such as `torch._utils._rebuild_tensor_v2` is only
ever looked up in the table `calls.CALLS`, whose functions build plain Python values and descriptions of tensors.
Everything else is refused by name, and nothing is called. Each instruction is paid from a `Budget`, and what is
built is never hashed, printed or compared as a whole: depth costs nothing here.

Formats: torch.save's zip archives and older files (protocol 2, and up to 5), and TorchScript's `data.pkl`.
"""

import codecs
import mmap
import pickletools
import struct
from collections.abc import Callable
from typing import Any

from checkpoints_convert.reading.budget import LONGEST_NAME, Budget
from checkpoints_convert.reading.calls import CALLS, MENTIONED, TORCHSCRIPT_CALLS, counts, plain_keys
from checkpoints_convert.reading.values import Damaged, Name, Refused, Storage, Thing
from minimodels.errors.untrusted import plain

CALL = 8  # steps of a call: what it makes takes the memory of several values
TOLD = 20  # names that a refusal lists at most
LINE = 100_000  # bytes of an argument that ends with its line
DIGITS = 255  # bytes of a whole number, or digits: no genuine one is longer
CUT = "its pickle breaks off"
PAIR = 1_000  # in the table of instructions: an argument of two lines


def read_pickle(
    data: bytes | mmap.mmap,
    budget: Budget,
    start: int = 0,
    torchscript: bool = False,
    storages: dict[str, Storage] | None = None,
) -> tuple[Any, int]:
    """The value a pickle describes, and the place after its last byte.

    A tensor is a `TensorSpec`, an instance of a known inert class a `Thing`.

    Args:
        data: bytes, or a file mapped into memory; the pickle begins at `start`.
        budget: what each instruction is paid from.
        torchscript: accept the archive's own classes (`__torch__...`) as inert.
        storages: filled with every storage that the pickle mentions, by key.

    Raises:
        Refused: it names a class or function outside the short list of plain data.
        Damaged: it is not a whole pickle, or describes too much.
    """
    machine = _Machine(data, budget, torchscript, {} if storages is None else storages)
    try:
        value, end = machine.run(start)
    except (Damaged, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if machine.refused:  # say first what is dangerous, then what is broken
            raise Refused(list(machine.refused)) from None
        reason = str(error) if isinstance(error, Damaged) else "its pickle makes no sense"
        raise Damaged(reason) from None
    if machine.refused:
        raise Refused(list(machine.refused))
    return value, end


class _Machine:
    """The stack machine: one method an instruction, found by its name in `_INSTRUCTIONS`."""

    def __init__(self, data: bytes | mmap.mmap, budget: Budget, torchscript: bool, storages: dict[str, Storage]):
        self.data = data
        self.budget = budget
        self.calls = {**CALLS, **TORCHSCRIPT_CALLS} if torchscript else CALLS
        self.torchscript = torchscript
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.refused: dict[str, None] = {}  # names in the order of the file
        self.storages = storages

    def run(self, at: int) -> tuple[Any, int]:
        """Instruction by instruction to STOP: the value on top, and the place after it."""
        data, budget, size = self.data, self.budget, len(self.data)
        while at < size:
            budget.steps -= 1  # as `pay` does: this loop runs once an instruction
            if budget.steps < 0:
                budget.spent()
            code = data[at]
            at += 1
            if code == _STOP:
                return self.stack.pop(), at
            name, length, literal, handler = _INSTRUCTIONS[code]  # LookupError: no instruction has this number
            argument = b""
            if 0 < length <= 8:
                argument, at = data[at : at + length], at + length
                if at > size:
                    raise Damaged(CUT)
            elif length:
                argument, at = self.argument(at, length)
            if literal is not None:
                self.stack.append(literal(argument))
            elif handler is None:
                self.refuse(f"the instruction {name}")
                raise Damaged(f"the instruction {name}")
            else:
                handler(self, argument)
        raise Damaged("its pickle has no end")

    def argument(self, at: int, length: int) -> tuple[bytes, int]:
        """The bytes of an argument and the place after them: as many as it says, or one or two lines."""
        if length in (pickletools.UP_TO_NEWLINE, PAIR):
            end = self.data.find(b"\n", at, at + LINE)
            if length == PAIR and end >= 0:
                end = self.data.find(b"\n", end + 1, end + 1 + LINE)
            skip = 1
        else:
            width = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(length, 4)
            at += width
            end, skip = at + int.from_bytes(self.data[at - width : at], "little"), 0
        if end < 0 or end > len(self.data):
            raise Damaged(CUT)
        return self.data[at:end], end + skip

    def refuse(self, name: str) -> None:
        self.budget.pay(CALL)
        self.refused[plain(name, 200)] = None
        if len(self.refused) >= TOLD:
            raise Refused(list(self.refused))

    def to_mark(self) -> list[Any]:
        """Everything pushed since the last MARK."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    # Names and calls: the only dangerous part of a pickle, and here a lookup in a table.

    def mention(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Damaged("a name that is no text")
        text = f"{module[:LONGEST_NAME]}.{name[:LONGEST_NAME]}"
        self.budget.pay(len(text) // 64)
        own = self.torchscript and text.startswith("__torch__.") and len(text) <= LONGEST_NAME
        if not (own or text in self.calls or (len(text) <= LONGEST_NAME and MENTIONED.fullmatch(text))):
            self.refuse(text)
        self.stack.append(Name(text))

    def op_global(self, argument: bytes) -> None:
        module, name = argument.decode("utf-8").split("\n")
        self.mention(module, name)

    def op_stack_global(self, _: bytes) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.mention(module, name)

    def op_inst(self, argument: bytes) -> None:
        arguments = self.to_mark()
        self.op_global(argument)
        self.call(self.stack.pop(), tuple(arguments))

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Damaged("a call of something that is not a function")
        self.budget.pay(CALL + len(arguments))
        self.budget.pay(sum(len(item) for item in arguments if hasattr(item, "__len__")))
        if self.torchscript and function.text.startswith("__torch__."):
            self.stack.append(Thing(function.text))
        elif function.text in self.calls and not self.refused:
            self.stack.append(self.calls[function.text](*arguments))
        else:  # go on without it, to list every name
            if function.text not in self.calls:
                self.refuse(function.text)
            self.stack.append(Thing(function.text))

    def op_reduce(self, _: bytes) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.call(function, arguments)

    op_newobj = op_reduce

    def op_newobj_ex(self, _: bytes) -> None:
        if self.stack.pop():
            raise Damaged("a call with arguments by name")
        self.op_reduce(b"")

    def op_obj(self, _: bytes) -> None:
        function, *arguments = self.to_mark()
        self.call(function, tuple(arguments))

    def op_build(self, _: bytes) -> None:
        """The state of an instance: attributes of an inert thing; that of plain data (metadata) is left out."""
        state, thing = self.stack.pop(), self.stack[-1]
        if not isinstance(thing, Thing):
            return
        parts = state if isinstance(state, tuple) else (state,)
        self.budget.pay(len(parts))
        if thing.name == "numpy.dtype" and len(parts) > 1:  # (version, byte order, ...)
            thing.attributes["order"] = parts[1]
        for part in parts:
            if isinstance(part, dict):
                self.budget.pay(len(part))
                if not all(isinstance(name, str) for name in part):
                    raise Damaged("attributes whose names are no texts")
                thing.attributes.update(part)

    def op_binpersid(self, _: bytes) -> None:
        """A storage: ("storage", its class, its name in the file, its device, its length, and in old files a view)."""
        self.budget.pay(CALL)
        tag, kind, key, _device, length, *more = self.stack.pop()
        fits = tag == "storage" and isinstance(kind, Name) and isinstance(key, str) and counts(length)
        if not fits or len(more) > 1 or len(key) > LONGEST_NAME:
            raise Damaged("a persistent id that is not a storage")
        view = None
        if more and more[0] is not None:  # its own key, its first element, its length
            _, first, count = more[0]
            if not counts(first) or not counts(count) or first + count > length:
                raise Damaged("a part of a block that reaches outside it")
            view = first, count
        whole = Storage(kind.text, key, length)
        if self.storages.setdefault(key, whole) != whole:
            raise Damaged(f"block {key} is described in two ways")
        self.stack.append(Storage(kind.text, key, length, view))

    # Containers.

    def op_mark(self, _: bytes) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def op_pop(self, _: bytes) -> None:
        self.stack.pop()

    def op_pop_mark(self, _: bytes) -> None:
        self.to_mark()

    def op_dup(self, _: bytes) -> None:
        self.stack.append(self.stack[-1])

    def op_tuple(self, _: bytes) -> None:
        items = self.to_mark()
        self.stack.append(tuple(items))

    def op_tuple1(self, _: bytes) -> None:
        self.stack.append((self.stack.pop(),))

    def op_tuple2(self, _: bytes) -> None:
        last, first = self.stack.pop(), self.stack.pop()
        self.stack.append((first, last))

    def op_tuple3(self, _: bytes) -> None:
        last, middle, first = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append((first, middle, last))

    def op_list(self, _: bytes) -> None:
        items = self.to_mark()
        self.stack.append(items)

    def op_dict(self, _: bytes) -> None:
        items = self.to_mark()
        self.stack.append({})
        self.update(items)

    def op_frozenset(self, _: bytes) -> None:
        items = self.to_mark()
        self.budget.pay(CALL)
        self.stack.append(frozenset(plain_keys(items)))

    def op_append(self, _: bytes) -> None:
        item = self.stack.pop()
        self.extend([item])

    def op_appends(self, _: bytes) -> None:
        items = self.to_mark()
        self.extend(items)

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Thing):  # a list-like class was refused by name
            raise Damaged("items for something that is not a list")

    def op_additems(self, _: bytes) -> None:
        items = self.to_mark()
        if not isinstance(self.stack[-1], set):
            raise Damaged("items for something that is not a set")
        self.stack[-1].update(plain_keys(items))

    def op_setitem(self, _: bytes) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def op_setitems(self, _: bytes) -> None:
        items = self.to_mark()
        self.update(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(zip(plain_keys(items[::2]), items[1::2], strict=True))
        elif not isinstance(target, Thing):  # a dictionary-like class was refused by name
            raise Damaged("items for something that is not a dictionary")

    # Constants and the memo: values mentioned twice.

    def op_empty_set(self, _: bytes) -> None:
        self.budget.pay(CALL)
        self.stack.append(set())

    def op_put(self, argument: bytes) -> None:
        self.memo[_digits(argument)] = self.stack[-1]

    def op_binput(self, argument: bytes) -> None:
        self.memo[int.from_bytes(argument, "little")] = self.stack[-1]

    op_long_binput = op_binput

    def op_memoize(self, _: bytes) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, argument: bytes) -> None:
        self.stack.append(self.memo[_digits(argument)])

    def op_binget(self, argument: bytes) -> None:
        self.stack.append(self.memo[int.from_bytes(argument, "little")])

    op_long_binget = op_binget

    def op_proto(self, _: bytes) -> None:
        """The protocol number, which changes nothing here."""

    op_frame = op_proto


def _digits(line: bytes) -> int:
    """A whole number written out."""
    if len(line) > DIGITS:
        raise Damaged(f"a number of {len(line):,} digits")
    return int(line)


def _signed(data: bytes) -> int:
    """A whole number of any length, the lowest byte first."""
    if len(data) > DIGITS:
        raise Damaged(f"a number of {len(data):,} bytes")
    return int.from_bytes(data, "little", signed=True)


def _quoted(line: bytes) -> str:
    """A text of protocol 0, between quotes and with escapes."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Damaged("a text without its quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


def _utf8(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


_LITERALS: dict[str, Callable[[bytes], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "INT": lambda line: line == b"01" if line in (b"00", b"01") else _digits(line),
    "BININT": _signed,
    "BININT1": lambda data: int.from_bytes(data, "little"),
    "BININT2": lambda data: int.from_bytes(data, "little"),
    "LONG": lambda line: _digits(line.removesuffix(b"L")),
    "LONG1": _signed,
    "LONG4": _signed,
    "FLOAT": float,
    "BINFLOAT": lambda data: struct.unpack(">d", data)[0],
    "STRING": _quoted,
    "BINSTRING": _latin,
    "SHORT_BINSTRING": _latin,
    "UNICODE": lambda line: line.decode("raw-unicode-escape"),
    "BINUNICODE": _utf8,
    "SHORT_BINUNICODE": _utf8,
    "BINUNICODE8": _utf8,
    "BINBYTES": bytes,
    "SHORT_BINBYTES": bytes,
    "BINBYTES8": bytes,
    "BYTEARRAY8": bytes,
}
_STOP = ord(".")
# By its number: an instruction's name, how long its argument is, and what becomes of it: a value, or a method's work.
_INSTRUCTIONS: dict[int, tuple[str, int, Callable[[bytes], Any] | None, Callable[[_Machine, bytes], None] | None]] = {
    ord(code.code): (
        code.name,
        0 if code.arg is None else PAIR if code.arg.name.endswith("_pair") else code.arg.n,
        _LITERALS.get(code.name),
        getattr(_Machine, f"op_{code.name.lower()}", None),
    )
    for code in pickletools.opcodes
}
