"""What a constructor is called with, out of a file that somebody sent: each value has the type its annotation asks.

The annotations are the constructor's own (`depth: int`, `mean: tuple[float, ...]`, `clip: CLIP`), so a new model or
preprocess is listed nowhere. A part that the constructor takes is told as {"class": "CLIP", "arguments": {...}}.
"""

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch import nn

from minimodels.errors import UserError
from minimodels.errors.untrusted import number, shown, text, truth, whole

LARGEST = 2**20  # no width, depth or vocabulary of a released model is larger
DIVISORS = ("size", "width", "dim", "heads")  # ends of names: a constructor divides by them or by their roots, so no 0
Part = Callable[[Any, Any, type[nn.Module]], nn.Module]  # class, arguments and what it has to be -> a part of a model


def read_arguments(cls: Callable[..., Any], values: Any, where: str, part: Part | None = None) -> dict[str, Any]:
    """The arguments of a class, each of the type that its constructor's annotation asks.

    Args:
        cls: the class, or a class method that makes one.
        values: an object of JSON, or anything else, which is refused.
        where: what messages call it: "the arguments of CLIP".
        part: builds a part that is itself a model; without it none may be told.

    Raises:
        UserError: no object, an unknown name, one that lacks, a value of another type or out of range.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where} are {shown(values)}, expected a JSON object: {{...}}")
    taken = inspect.signature(cls).parameters
    if unknown := [name for name in values if name not in taken]:
        raise UserError(f"{where} name {shown(unknown[0])}; {cls.__name__} takes: {', '.join(taken)}")
    if lacking := [name for name, asked in taken.items() if asked.default is asked.empty and name not in values]:
        raise UserError(f"{where} lack {', '.join(lacking)}")
    hints = get_type_hints(vars(cls)["__init__"] if isinstance(cls, type) else cls)
    return {name: typed(value, hints.get(name), f"{name} in {where}", part) for name, value in values.items()}


def typed(value: Any, hint: Any, what: str, part: Part | None = None) -> Any:
    """A value of the annotated type; lists become tuples.

    Raises:
        UserError: it is of another type, a negative size, NaN; or no file can tell this type.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return any_of(value, inner, what, part)
    if kind in (tuple, Sequence, Iterable):
        return items(value, kind, inner, what)
    if isinstance(hint, type) and issubclass(hint, nn.Module) and part is not None:
        if not isinstance(value, Mapping) or value.keys() != {"class", "arguments"}:
            raise UserError(f'{what} is {shown(value)}, expected {{"class": ..., "arguments": ...}}')
        return part(value["class"], value["arguments"], hint)
    name = what.split(" in ")[0]
    if hint is float and name.endswith("eps"):
        return number(value, what, above=0, most=1)
    if hint is int and name.endswith(DIVISORS):
        return whole(value, what, least=1, most=LARGEST)
    return plain(value, hint, what, least=0)


def plain(value: Any, hint: Any, what: str, least: int | float = -LARGEST) -> Any:
    """A single value: None, a truth, a whole number from 0 on, a number within bounds, a text; UserError else."""
    if hint is types.NoneType and value is None:
        return None
    if hint is bool:
        return truth(value, what)
    if hint is int:
        return whole(value, what, least=0, most=LARGEST)
    if hint is float:
        return number(value, what, least=least, most=LARGEST)
    if hint is str:
        return text(value, what)
    raise UserError(f"{what} is {shown(value)}, which no file can tell")


def items(value: Any, kind: Any, hints: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    """A list of single values or of such lists (a mean may be negative), as a tuple; UserError else."""
    count = len(hints) if kind is tuple and hints[-1] is not ... else None
    if not isinstance(value, (list, tuple)) or count not in (None, len(value)):
        raise UserError(f"{what} is {shown(value)}, expected a list{'' if count is None else f' of {count}'}")
    if hints[0] is int and sum(found := [plain(item, int, what) for item in value]) > LARGEST:
        raise UserError(f"{what} is {shown(found)}: together that is more than {LARGEST:,}")
    inner = get_origin(hints[0]), get_args(hints[0])
    return tuple(items(item, *inner, what) if inner[0] else plain(item, hints[0], what) for item in value)


def any_of(value: Any, hints: Sequence[Any], what: str, part: Part | None) -> Any:
    """A value of one of several types; UserError of the first of them else."""
    errors = []
    for hint in hints:
        try:
            return typed(value, hint, what, part)
        except UserError as error:
            errors.append(error)
    raise errors[0]
