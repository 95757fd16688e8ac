"""Reading a pickle without running it.

A pickle is a small program: "push this text", "make a list", "import this function and call it". Python's own reader
imports and calls whatever the file names, so opening a hostile checkpoint runs hostile code. This reader has the
stack and the memo of such a program and no import at all: a name such as `torch._utils._rebuild_tensor_v2` is only
ever looked up in the table `CALLS` below, whose functions build plain Python values and descriptions of tensors.
Everything else is refused by name, and nothing is called.

Formats: torch.save's zip archives and older files (protocol 2, and up to 5), and TorchScript's `data.pkl`.
"""

import io
import pickletools
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any


class Refused(Exception):
    """The pickle names things that are not data; `.names` lists them in the order of the file."""

    def __init__(self, names: list[str]):
        super().__init__(", ".join(names))
        self.names = names


class Damaged(Exception):
    """Not a pickle, or one that breaks off or makes no sense."""


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle mentions, as text: "torch.FloatStorage"."""

    text: str


@dataclass(frozen=True)
class Storage:
    """A block of numbers elsewhere in the file: its type ("torch.FloatStorage"), its name, its length in elements."""

    kind: str
    key: str
    length: int
    view: tuple[str, int, int] | None = None


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as the pickle describes it: offset and strides are in elements of the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str | None = None


@dataclass
class Thing:
    """An instance of a class that was not imported: its name and its attributes, inert."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)


def read_pickle(
    source: bytes | IO[bytes], torchscript: bool = False, storages: dict[str, Storage] | None = None
) -> Any:
    """The value a pickle describes: a `TensorSpec` for a tensor, a `Thing` for an instance of a known inert class.

    Args:
        source: the bytes, or a file placed at the first of them; it is left just after the last one.
        torchscript: accept the archive's own classes (`__torch__...`) as inert.
        storages: filled with every storage that the pickle mentions, by key.

    Raises:
        Refused: it names a class or function outside the short list of plain data.
        Damaged: it is not a whole pickle.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    machine = _Machine(torchscript, {} if storages is None else storages)
    try:
        value = machine.run(pickletools.genops(stream))
    except Refused:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError) as error:
        if machine.refused:  # say first what is dangerous, then what is broken
            raise Refused(machine.refused) from None
        raise Damaged(str(error) or type(error).__name__) from None
    if machine.refused:
        raise Refused(machine.refused)
    return value


# What may be called: each function takes the arguments found in the pickle and returns plain data.


def _tensor(storage: Storage, offset: int, shape: Any, stride: Any, *rest: Any) -> TensorSpec:
    """`torch._utils._rebuild_tensor_v2` (and v1, which has fewer arguments): a tensor is a window on a storage."""
    if any(isinstance(item, dict) and any(item.values()) for item in rest[2:3]):
        raise ValueError("a conjugated or negated tensor")
    return _checked(TensorSpec(storage, offset, tuple(shape), tuple(stride)))


def _tensor_v3(storage: Storage, offset: int, shape: Any, stride: Any, *rest: Any) -> TensorSpec:
    """`torch._utils._rebuild_tensor_v3`: the storage is bytes, the dtype is told."""
    return _checked(TensorSpec(storage, offset, tuple(shape), tuple(stride), rest[2].text))


def _checked(spec: TensorSpec) -> TensorSpec:
    """The same tensor, if its numbers are numbers and none is negative."""
    if not isinstance(spec.storage, Storage) or len(spec.shape) != len(spec.stride):
        raise TypeError("a tensor without a storage")
    if any(type(n) is not int or n < 0 for n in (spec.offset, *spec.shape, *spec.stride)):
        raise ValueError("a tensor with impossible sizes")
    return spec


def _from_type(function: Name, kind: Name, arguments: tuple[Any, ...], state: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: a tensor that carries Python attributes, which are left out."""
    if kind.text not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        raise Refused([kind.text])
    return CALLS[function.text](*arguments)


def _plain(keys: Any) -> list[Any]:
    """Keys of dictionaries and sets: text and numbers only (hashing a deeply nested tuple crashes the interpreter)."""
    for key in keys:
        if not isinstance(key, (str, int, float, bytes, Name, type(None))):
            raise TypeError(f"a {type(key).__name__} as a key")
    return list(keys)


def _pairs(items: Any = ()) -> dict[Any, Any]:
    """`collections.OrderedDict` and its like: a plain dictionary."""
    pairs = items.items() if isinstance(items, dict) else items
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    return dict(zip(_plain(keys), values))


def _number(kind: Thing, data: bytes) -> int | float | bool:
    """A numpy scalar (a best score, an epoch) as the Python number it is."""
    codes = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "f2": "e", "f4": "f", "f8": "d"}
    return struct.unpack("<" + codes[kind.attributes["code"]], data)[0]


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _pairs,
    "collections.Counter": _pairs,
    "builtins.set": lambda items=(): set(_plain(items)),
    "__builtin__.set": lambda items=(): set(_plain(items)),
    "builtins.frozenset": lambda items=(): frozenset(_plain(items)),
    "builtins.complex": lambda real, imaginary=0.0: complex(real, imaginary),
    "builtins.bytearray": lambda data=b"": bytes(data),
    "_codecs.encode": lambda text, encoding="latin1": text.encode("latin1"),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": lambda tensor, *rest: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *rest: tensor,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.nn.parameter.Parameter": lambda tensor, *rest: tensor,
    "torch.Size": tuple,
    "torch.device": lambda *parts: ":".join(str(part) for part in parts),
    "argparse.Namespace": lambda: Thing("argparse.Namespace"),
    "numpy.dtype": lambda code, *rest: Thing("numpy.dtype", {"code": code}),
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
TORCHSCRIPT_CALLS: dict[str, Callable[..., Any]] = {
    f"torch.jit._pickle.{name}": lambda values, *rest: values
    for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
}
# Names that may be mentioned as values: storage and tensor classes, dtypes, layouts. They stay text.
MENTIONED = re.compile(
    r"torch\.((cuda\.)?[A-Z][A-Za-z0-9]*Storage|storage\.\w*Storage|Tensor|strided|bool|"
    r"(u?int|float|bfloat|complex)\d+(_\w+)?)$"
)


class _Machine:
    """The stack machine: one method a group of instructions, `run` looks them up by name."""

    def __init__(self, torchscript: bool, storages: dict[str, Storage]):
        self.calls = {**CALLS, **TORCHSCRIPT_CALLS} if torchscript else CALLS
        self.torchscript = torchscript
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.refused: list[str] = []
        self.storages = storages

    def run(self, instructions: Iterator[tuple[Any, Any, int | None]]) -> Any:
        for code, argument, _ in instructions:
            if code.name == "STOP":
                return self.stack.pop()
            if code.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[code.name]())
            elif code.name in _LITERALS:
                self.stack.append(argument)
            else:
                handler = getattr(self, f"op_{code.name.lower()}", None)
                if handler is None:
                    self.refuse(f"the instruction {code.name} {argument if argument is not None else ''}".strip())
                    raise ValueError(code.name)
                handler(argument)
        raise ValueError("no end")

    def refuse(self, name: str) -> None:
        if name not in self.refused:
            self.refused.append(name)

    def to_mark(self) -> list[Any]:
        """Everything pushed since the last MARK."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    # Names and calls: the only dangerous part of a pickle, and here a lookup in a table.

    def mention(self, text: str) -> None:
        own = self.torchscript and text.startswith("__torch__.")
        if not (own or text in self.calls or MENTIONED.match(text)):
            self.refuse(text)
        self.stack.append(Name(text))

    def op_global(self, argument: str) -> None:
        self.mention(argument.replace(" ", "."))

    def op_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.mention(f"{module}.{name}")

    def op_inst(self, argument: str) -> None:
        self.to_mark()
        self.mention(argument.replace(" ", "."))

    def call(self, function: Any, arguments: tuple[Any, ...]) -> None:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of something that is not a function")
        if self.torchscript and function.text.startswith("__torch__."):
            self.stack.append(Thing(function.text))
        elif function.text in self.calls and not self.refused:
            self.stack.append(self.calls[function.text](*arguments))
        else:  # go on without it, to list every name
            if function.text not in self.calls:
                self.refuse(function.text)
            self.stack.append(Thing(function.text))

    def op_reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.call(function, arguments)

    op_newobj = op_reduce

    def op_newobj_ex(self, _: Any) -> None:
        self.stack.pop()
        self.op_reduce(None)

    def op_obj(self, _: Any) -> None:
        function, *arguments = self.to_mark()
        self.call(function, tuple(arguments))

    def op_build(self, _: Any) -> None:
        """The state of an instance: attributes of an inert thing; that of plain data (metadata) is left out."""
        state, thing = self.stack.pop(), self.stack[-1]
        if not isinstance(thing, Thing):
            return
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                thing.attributes.update(part)

    def op_binpersid(self, _: Any) -> None:
        """A storage: ("storage", its class, its name in the file, its device, its length, and in old files a view)."""
        tag, kind, key, _device, length, *view = self.stack.pop()
        if tag != "storage" or type(length) is not int or length < 0 or not isinstance(key, str):
            raise ValueError("a persistent id that is not a storage")
        storage = Storage(kind.text, key, length, tuple(view[0]) if view and view[0] else None)
        self.storages[key] = storage
        self.stack.append(storage)

    # Containers.

    def op_mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def op_pop(self, _: Any) -> None:
        self.stack.pop()

    def op_pop_mark(self, _: Any) -> None:
        self.to_mark()

    def op_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def op_tuple(self, _: Any) -> None:
        items = self.to_mark()
        self.stack.append(tuple(items))

    def op_tuple1(self, _: Any) -> None:
        self.stack[-1:] = [tuple(self.stack[-1:])]

    def op_tuple2(self, _: Any) -> None:
        self.stack[-2:] = [tuple(self.stack[-2:])]

    def op_tuple3(self, _: Any) -> None:
        self.stack[-3:] = [tuple(self.stack[-3:])]

    def op_list(self, _: Any) -> None:
        items = self.to_mark()
        self.stack.append(items)

    def op_dict(self, _: Any) -> None:
        items = self.to_mark()
        self.stack.append({})
        self.update(items)

    def op_frozenset(self, _: Any) -> None:
        items = self.to_mark()
        self.stack.append(frozenset(_plain(items)))

    def op_append(self, _: Any) -> None:
        item = self.stack.pop()
        self.extend([item])

    def op_appends(self, _: Any) -> None:
        items = self.to_mark()
        self.extend(items)

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Thing):  # a list-like class was refused by name
            raise TypeError("items for something that is not a list")

    def op_additems(self, _: Any) -> None:
        items = self.to_mark()
        self.stack[-1].update(_plain(items))

    def op_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def op_setitems(self, _: Any) -> None:
        items = self.to_mark()
        self.update(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(zip(_plain(items[::2]), items[1::2], strict=True))
        elif not isinstance(target, Thing):  # a dictionary-like class was refused by name
            raise TypeError("items for something that is not a dictionary")

    # The memo: values mentioned twice.

    def op_binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    op_put = op_long_binput = op_binput

    def op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    op_get = op_long_binget = op_binget

    def op_proto(self, _: Any) -> None:
        """The protocol number, which changes nothing here."""

    op_frame = op_proto


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_LITERALS = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
