"""The small rule language of the tables: a reference name, our name, what happens to the tensor (lesson 2.4).

    TABLE = [
        ("encoder.layer.{i}.attention.{query,key,value}.weight", "blocks.{i}.attn.qkv.weight", STACK_ROWS),
        ("embeddings.patch.weight", "patch_proj.weight", FLATTEN_KERNEL),
        ("encoder.layer.{i}.norm.weight", "blocks.{i}.norm1.weight"),               # renamed only
        ("embeddings.position_ids", None, "a counter, recomputed"),                 # known, dropped for a reason
    ]

`{i}` stands for a number and returns in our name. `{query,key,value}` stands for several tensors that become one, in
this order. Each operation knows its inverse, so the same table reads a checkpoint (`convert`) and writes one
(`export`). A reference name that no row knows is an error, never a warning.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

Row = tuple[str, str] | tuple[str, str, "Operation"] | tuple[str, None, str]


@dataclass(frozen=True)
class Operation:
    """What happens to the tensors of one row, and back. Both directions map lists: several tensors may become one."""

    name: str
    forward: Callable[[Sequence[Tensor]], Tensor]
    inverse: Callable[[Tensor, int], Sequence[Tensor]]  # our tensor and how many reference tensors it came from


def _flatten(parts: Sequence[Tensor]) -> Tensor:
    """Square kernels of three colours to rows of 3 p^2 numbers."""
    if parts[0].ndim != 4 or parts[0].shape[1] != 3 or parts[0].shape[2] != parts[0].shape[3]:
        raise RuntimeError("expected (channels, 3 colours, p, p): square patches of pictures in colour")
    return parts[0].flatten(1)


def _unflatten(weight: Tensor, _: int) -> list[Tensor]:
    """Rows of 3 p^2 numbers back to square kernels of three colours."""
    side = round((weight.shape[1] / 3) ** 0.5)
    return [weight.reshape(weight.shape[0], 3, side, side)]


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """One below the other; numbers of two types would change by it."""
    if len({part.dtype for part in parts}) > 1:
        raise RuntimeError(f"types {', '.join(str(part.dtype) for part in parts)}, expected one")
    return torch.cat(list(parts))


def _only(tensor: Tensor) -> Tensor:
    """The one thing along the first axis."""
    if not tensor.ndim or len(tensor) != 1:
        raise RuntimeError(f"expected one along the first axis of {tuple(tensor.shape)}")
    return tensor[0]


KEEP = Operation("keep", lambda parts: parts[0], lambda whole, _: [whole])
STACK_ROWS = Operation("stack rows", _stack, lambda whole, n: list(whole.chunk(n)))
FLATTEN_KERNEL = Operation("flatten kernel", _flatten, _unflatten)
TRANSPOSE = Operation("transpose", lambda parts: parts[0].mT.contiguous(), lambda whole, _: [whole.mT.contiguous()])
FIRST = Operation("first of a batch of one", lambda parts: _only(parts[0]), lambda whole, _: [whole[None]])
FIRST_FIRST = Operation(
    "first of the first", lambda parts: _only(_only(parts[0])), lambda whole, _: [whole[None, None]]
)


@dataclass(frozen=True)
class _Rule:
    """One row, compiled: a pattern for each reference name in order, and the way to our name."""

    references: tuple[str, ...]
    ours: str | None
    operation: Operation
    reason: str = ""


@dataclass
class Converted:
    """What a table made of a checkpoint: our tensors, the names dropped with their reasons, and what went wrong."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    sources: dict[str, tuple[list[str], str]] = field(default_factory=dict)  # our name -> (reference names, operation)
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # names that no row knows, each among the problems too


class Table:
    """Rows compiled for both directions."""

    def __init__(self, rows: Sequence[Row]):
        self.rules = [_compile(row) for row in rows]
        self._by_reference: dict[str, list[tuple[_Rule, int, re.Pattern[str]]]] = {}
        self._by_ours: dict[str, list[tuple[_Rule, re.Pattern[str]]]] = {}
        for rule in self.rules:
            for place, pattern in enumerate(rule.references):
                self._by_reference.setdefault(_skeleton(pattern), []).append((rule, place, _regex(pattern)))
            if rule.ours is not None:
                self._by_ours.setdefault(_skeleton(rule.ours), []).append((rule, _regex(rule.ours)))

    def knows(self, names: Sequence[str]) -> int:
        """How many of these reference names some row takes or drops."""
        return sum(self._find(name) is not None for name in names)

    def convert(self, tensors: Mapping[str, Tensor]) -> Converted:
        """Our names and tensors. Renamed tensors are the same memory; what has no place is listed in `.problems`."""
        result = Converted()
        groups: dict[tuple[str, _Rule], dict[int, str]] = {}
        for name in tensors:
            found = self._find(name)
            if found is None:
                result.unknown.append(name)
                result.problems.append(f"unknown name in the checkpoint: {name} {tuple(tensors[name].shape)}")
                continue
            rule, place, index = found
            if rule.ours is None:
                result.dropped[name] = rule.reason
            else:
                groups.setdefault((_fill(rule.ours, index), rule), {})[place] = name
        for (ours, rule), places in groups.items():
            self._apply(ours, rule, places, tensors, result)
        return result

    def export(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Reference names and tensors: the inverse of `convert`.

        Raises:
            KeyError: a name that no row writes.
        """
        out: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            rule, index = self._find_ours(name)
            parts = rule.operation.inverse(tensor, len(rule.references))
            for pattern, part in zip(rule.references, parts, strict=True):
                out[_fill(pattern, index)] = part
        return out

    def _apply(
        self, ours: str, rule: _Rule, places: Mapping[int, str], tensors: Mapping[str, Tensor], result: Converted
    ) -> None:
        """Run one row's operation, when all its tensors are there and of fitting shapes."""
        if len(places) < len(rule.references):
            names = ", ".join(places.values())
            result.problems.append(f"{ours} is made of {len(rule.references)} tensors, the checkpoint has only {names}")
            return
        names_in_order = [places[place] for place in range(len(rule.references))]
        if ours in result.tensors:
            result.problems.append(f"{ours} is given twice: again by {', '.join(names_in_order)}")
            return
        try:
            result.tensors[ours] = rule.operation.forward([tensors[name] for name in names_in_order])
        except (RuntimeError, IndexError) as error:
            shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in names_in_order)
            result.problems.append(f"{shapes}: cannot {rule.operation.name} ({error})")
            return
        result.sources[ours] = (names_in_order, rule.operation.name)

    def _find(self, name: str) -> tuple[_Rule, int, dict[str, str]] | None:
        """The row that takes a reference name, the name's place in it, and the numbers of its {i}."""
        for rule, place, regex in self._by_reference.get(_skeleton(name), []):
            if match := regex.fullmatch(name):
                return rule, place, match.groupdict()
        return None

    def _find_ours(self, name: str) -> tuple[_Rule, dict[str, str]]:
        """The row that writes one of our names."""
        for rule, regex in self._by_ours.get(_skeleton(name), []):
            if match := regex.fullmatch(name):
                return rule, match.groupdict()
        raise KeyError(f"no row of the table writes {name}")


def _compile(row: Row) -> _Rule:
    """A row as written -> one pattern for each combination of its {a,b} alternatives."""
    pieces = re.split(r"(\{[^{}]*,[^{}]*\})", row[0])
    options = [piece[1:-1].split(",") if piece.startswith("{") and "," in piece else [piece] for piece in pieces]
    references = tuple("".join(choice) for choice in product(*options))
    if row[1] is None:
        return _Rule(references, None, KEEP, str(row[2]))
    operation = row[2] if len(row) == 3 else KEEP
    assert isinstance(operation, Operation), f"{row[0]}: the third item of a row must be an operation"
    return _Rule(references, row[1], operation)


def _regex(pattern: str) -> re.Pattern[str]:
    """'blocks.{i}.weight' -> a regular expression that captures i."""
    parts = re.split(r"\{(\w+)\}", pattern)
    return re.compile("".join(f"(?P<{part}>[0-9]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts)))


def _skeleton(name: str) -> str:
    """Names that differ in numbers alone share a skeleton; it finds the few rows that can match."""
    return re.sub(r"\{\w+\}|[0-9]+", "#", name)


def _fill(pattern: str, index: Mapping[str, str]) -> str:
    """'blocks.{i}.weight', {i: 3} -> 'blocks.3.weight'."""
    return re.sub(r"\{(\w+)\}", lambda match: index[match[1]], pattern)
