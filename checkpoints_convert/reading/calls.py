"""What a pickle may call: a table of functions that take what was found in it and return plain data.

Nothing else is ever called. Each function checks what it is given: a size that is no number, a number as a text, a
text of the wrong kind are refused here.
"""

import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

from checkpoints_convert.reading.values import Damaged, Name, Refused, Storage, TensorSpec, Thing

LARGEST = 2**63 - 1  # of a size, stride or offset
MOST_AXES = 64
NUMBERS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"} | {
    "f2": "e",
    "f4": "f",
    "f8": "d",
}


def _tensor_v1(storage: Any, offset: Any, shape: Any, stride: Any) -> TensorSpec:
    """`torch._utils._rebuild_tensor`: a tensor is a window on a storage."""
    return _window(storage, offset, shape, stride, None)


def _tensor_v2(
    storage: Any, offset: Any, shape: Any, stride: Any, gradient: Any, hooks: Any, metadata: Any = None
) -> TensorSpec:
    """`torch._utils._rebuild_tensor_v2`. As many arguments as torch takes: of a damaged file one may be missing, and
    the others then stand in wrong places."""
    _only_marks(gradient, metadata)
    return _window(storage, offset, shape, stride, None)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, stride: Any, gradient: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> TensorSpec:
    """`torch._utils._rebuild_tensor_v3`: the storage is bytes, the dtype is told."""
    _only_marks(gradient, metadata)
    if not isinstance(dtype, Name):
        raise Damaged("a tensor without a type of numbers")
    return _window(storage, offset, shape, stride, dtype.text)


def _only_marks(gradient: Any, metadata: Any) -> None:
    """Refuse what is no mark of a gradient, as torch does, and the marks of a conjugated or negated tensor: its
    numbers are not those in the file."""
    if not isinstance(gradient, bool):
        raise Damaged("a tensor whose mark of a gradient is neither true nor false")
    if metadata is not None and (not isinstance(metadata, dict) or any(metadata.values())):
        raise Damaged("a conjugated or negated tensor")


def _window(storage: Any, offset: Any, shape: Any, stride: Any, dtype: str | None) -> TensorSpec:
    """The tensor, if its numbers are numbers and none is negative or beyond what a machine counts."""
    if (
        not isinstance(storage, Storage)
        or not isinstance(shape, (tuple, list))
        or not isinstance(stride, (tuple, list))
    ):
        raise Damaged("a tensor without a storage or a shape")
    if len(shape) != len(stride):
        raise Damaged(f"a tensor with {len(shape):,} sizes and {len(stride):,} strides")
    check_shape(shape)
    if any(not counts(n) for n in (offset, *stride)):
        raise Damaged("a tensor with impossible strides")
    return TensorSpec(storage, offset, tuple(shape), tuple(stride), dtype)


def check_shape(shape: Sequence[Any]) -> None:
    """Sizes of which no more than a machine counts come together, also where one of them is 0.

    Raises:
        Damaged: other things than sizes, or too many.
    """
    if len(shape) > MOST_AXES:
        raise Damaged(f"a tensor of {len(shape):,} axes")
    if not all(counts(size) for size in shape) or math.prod(max(size, 1) for size in shape) > LARGEST:
        raise Damaged("a tensor of impossible sizes")


def counts(value: Any) -> bool:
    """A length or place within what a machine counts. True is none."""
    return type(value) is int and 0 <= value <= LARGEST


def _from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: a tensor that carries Python attributes, which are left out."""
    if not all(isinstance(name, Name) for name in (function, kind)) or not isinstance(arguments, tuple):
        raise Damaged("a tensor of no type")
    if kind.text not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        raise Refused([kind.text])
    if function.text not in TENSORS:
        raise Damaged(f"a tensor made by {function.text}")
    return TENSORS[function.text](*arguments)


def _parameter(tensor: Any, gradient: Any = True) -> TensorSpec:
    """`torch.nn.Parameter`: the tensor, without what was said about its gradient."""
    if not isinstance(tensor, TensorSpec):
        raise Damaged("a parameter without a tensor")
    _only_marks(gradient, None)
    return tensor


def plain_keys(keys: Any) -> list[Any]:
    """Keys of dictionaries and sets: text and numbers only (hashing a deeply nested tuple crashes the interpreter).

    Whole numbers must fit 64 bits: larger ones can be chosen so that all have one hash.
    """
    for key in keys:
        if not isinstance(key, (str, int, float, bytes, Name, type(None))):
            raise Damaged(f"a {type(key).__name__} as a key")
        if isinstance(key, int) and not -LARGEST <= key <= LARGEST:
            raise Damaged("a number of more than 64 bits as a key")
    return list(keys)


def _pairs(items: Any = ()) -> dict[Any, Any]:
    """`collections.OrderedDict` and its like: a plain dictionary."""
    pairs = list(items.items()) if isinstance(items, dict) else _listed(items)
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise Damaged("a dictionary of something other than pairs")
    return dict(zip(plain_keys([key for key, _ in pairs]), [value for _, value in pairs]))


def _listed(items: Any) -> list[Any]:
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise Damaged(f"a {type(items).__name__} in place of a list")
    return list(items)


def _device(kind: Any, index: Any = None) -> str:
    """`torch.device`: "cpu", or "cuda:1"."""
    if not isinstance(kind, str) or type(index) not in (int, type(None)):
        raise Damaged("a device without a name")
    return kind if index is None else f"{kind}:{index}"


def _complex(real: Any, imaginary: Any = 0.0) -> complex:
    if not all(type(part) in (int, float) for part in (real, imaginary)):
        raise Damaged("a complex number made of something else")
    return complex(real, imaginary)


def _bytes(data: Any = b"") -> bytes:
    """`bytearray`; a number would be a length: refused."""
    if not isinstance(data, bytes):
        raise Damaged(f"bytes made of a {type(data).__name__}")
    return data


def _latin(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`: how protocol 2 spells bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Damaged("bytes made of something other than a text")
    return text.encode("latin1")


def _kind(code: Any, *rest: Any) -> Thing:
    """`numpy.dtype`: the code of a number's type."""
    return Thing("numpy.dtype", {"code": code})


def _number(kind: Any, data: Any) -> int | float | bool:
    """A numpy scalar (a best score, an epoch) as the Python number it is."""
    code = kind.attributes.get("code") if isinstance(kind, Thing) and kind.name == "numpy.dtype" else None
    layout = NUMBERS.get(code) if isinstance(code, str) else None
    data = data.encode("latin1") if isinstance(data, str) else data  # as Python 2 wrote it
    if layout is None or not isinstance(data, bytes) or len(data) != struct.calcsize(f"<{layout}"):
        raise Damaged("a numpy number of an unknown type or length")
    if kind.attributes.get("order") == ">":
        raise Damaged("a numpy number of a big-endian machine")
    return struct.unpack(f"<{layout}", data)[0]


TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor_v1,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": lambda tensor, gradient, hooks: _parameter(tensor, gradient),
    "torch._utils._rebuild_parameter_with_state": lambda tensor, gradient, hooks, state: _parameter(tensor, gradient),
    "torch.nn.parameter.Parameter": _parameter,
}
BUILTINS: dict[str, Callable[..., Any]] = {
    "set": lambda items=(): set(plain_keys(_listed(items))),
    "frozenset": lambda items=(): frozenset(plain_keys(_listed(items))),
    "complex": _complex,
    "bytearray": _bytes,
}
CALLS: dict[str, Callable[..., Any]] = {
    **TENSORS,
    **{f"{module}.{name}": made for module in ("builtins", "__builtin__") for name, made in BUILTINS.items()},
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "collections.OrderedDict": _pairs,
    "collections.Counter": _pairs,
    "_codecs.encode": _latin,
    "torch.Size": lambda items=(): tuple(_listed(items)),
    "torch.device": _device,
    "argparse.Namespace": lambda: Thing("argparse.Namespace"),
    "numpy.dtype": _kind,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
TORCHSCRIPT_CALLS: dict[str, Callable[..., Any]] = {
    f"torch.jit._pickle.build_{kind}list": lambda values: values for kind in ("int", "tensor", "double", "bool")
} | {"torch.jit._pickle.restore_type_tag": lambda value, kind: value}
# Names that may be mentioned as values: storage and tensor classes, dtypes, layouts. They stay text.
MENTIONED = re.compile(
    r"torch\.((cuda\.)?[A-Z][A-Za-z0-9]*Storage|storage\.\w*Storage|Tensor|strided|bool|"
    r"(u?int|float|bfloat|complex)\d+(_\w+)?)"
)
