"""What is in a checkpoint: the file, the model it makes, where every tensor goes. The command `inspect` prints it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from os.path import commonprefix
from typing import Any

from torch import Tensor

from checkpoints_convert.building import build_model
from checkpoints_convert.load import Source, everything_told, load_source, recognise
from checkpoints_convert.tables import SYSTEMS
from minimodels.errors import UserError
from minimodels.errors.untrusted import reading
from minimodels.terminal.printing import printable

NUMBER = re.compile(r"(?<=\.)[0-9]+(?=\.|$)")


@dataclass(frozen=True)
class Line:
    """One row of the table: tensors of the file that become one of ours, or a dropped one.

    Args:
        theirs: names in the file; none for one of ours that the file lacks and the table fills.
        ours: our name; None for a dropped tensor, and where the model is unknown.
        operation: what happens to it, "keep" for a tensor that is only renamed; for a dropped one the reason.
        shape, dtype: in the file, of one tensor; ours, where the file has none.
        times: how many such rows there are, one a block.
    """

    theirs: tuple[str, ...]
    ours: str | None
    operation: str
    shape: tuple[int, ...]
    dtype: str
    times: int = 1


@dataclass
class Inspection:
    """What `inspect` found. `problem` is what keeps the file from becoming a model, in one sentence, or empty."""

    path: str
    kind: str
    parts: dict[str, int]
    extras: list[str]
    tensors: int
    numbers: int
    bytes: int
    dtypes: dict[str, int]
    system: str = ""
    format: str = ""
    model: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    parameters: int = 0
    problem: str = ""
    lines: list[Line] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        return asdict(self)

    def text(self, every: bool = False) -> str:
        """The same for a person; blocks that are alike share a line unless `every` tensor is asked for."""
        model = f"{self.model}({', '.join(f'{key}={value}' for key, value in self.arguments.items())})"
        dtypes = ", ".join(f"{count} {name}" for name, count in self.dtypes.items())
        facts = {
            "file": f"{self.path}  ({self.kind}, {self.bytes / 1e6:,.1f} MB of numbers)",
            "tensors": f"{self.tensors:,} with {self.numbers:,} numbers: {dtypes}",
            "parts": ", ".join(f"{name} ({count} tensors)" for name, count in self.parts.items() if name),
            "beside": ", ".join(self.extras),
            "system": f"{self.system}, {self.format} names" if self.system else "",
            "model": model if self.model else "",
            "parameters": f"{self.parameters:,}" if self.model else "",
        }
        head = [f"{key:<11}{printable(value)}" for key, value in facts.items() if value]
        lines = self.lines if every else together(self.lines)
        dropped = [line for line in lines if line.ours is None and self.system]
        used = [line for line in lines if line not in dropped]
        blocks = [head, table(used, with_ours=bool(self.system))]
        if dropped:
            rows = [[braces(line.theirs) + times(line), size(line), line.operation] for line in dropped]
            blocks.append(["dropped", *columns([["name", "shape", "why"], *rows])])
        return "\n\n".join("\n".join(block) for block in blocks)


def inspect(source: Source) -> Inspection:
    """Look at what was read, convert it, and say what came of it. Nothing is written."""
    checkpoint, tensors = source.checkpoint, source.checkpoint.tensors
    found = Inspection(
        path=str(checkpoint.path),
        kind=checkpoint.kind,
        parts={name: len(part) for name, part in checkpoint.parts.items()},
        extras=sorted(map(str, checkpoint.extras)),
        tensors=len(tensors),
        numbers=sum(tensor.numel() for tensor in tensors.values()),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        dtypes=dict(Counter(_dtype(tensor) for tensor in tensors.values()).most_common()),
    )
    try:
        with reading(checkpoint.path):
            if source.is_ours:
                _our_own(source, found)
            else:
                _official(source, found)
    except UserError as error:
        found.problem = str(error)
    found.lines = found.lines or [Line((name,), None, "", tuple(t.shape), _dtype(t)) for name, t in tensors.items()]
    return found


def _official(source: Source, found: Inspection) -> None:
    """System, format, where each tensor goes, and the model they make."""
    checkpoint = source.checkpoint
    found.system, detected = recognise(checkpoint)
    found.format = source.format or detected
    system = SYSTEMS[found.system]
    converted = system.formats[found.format].table.convert(checkpoint.tensors)
    for ours, (names, operation) in converted.sources.items():
        found.lines.append(_line(checkpoint.tensors if names else converted.tensors, names, ours, operation))
    for name, reason in converted.dropped.items():
        found.lines.append(_line(checkpoint.tensors, [name], None, reason))
    known = everything_told(system, checkpoint, source.told)
    _describe(build_model(checkpoint.tensors, system, found.format, known), found)


def _our_own(source: Source, found: Inspection) -> None:
    """A file that we wrote: our names on both sides."""
    tensors = source.checkpoint.tensors
    found.system, found.format = source.checkpoint.metadata.get("system", ""), "our own"
    for name in tensors:
        found.lines.append(_line(tensors, [name], name, "keep"))
    _describe(load_source(source), found)


def _describe(model: Any, found: Inspection) -> None:
    found.model, found.arguments = model.about["class"], dict(model.about["arguments"])
    found.parameters = sum(parameter.numel() for parameter in model.parameters())


def _line(tensors: Mapping[str, Tensor], names: Sequence[str], ours: str | None, operation: str) -> Line:
    first = tensors[names[0] if names else str(ours)]
    return Line(tuple(names), ours, operation, tuple(first.shape), _dtype(first))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


# Text.


def together(lines: Sequence[Line]) -> list[Line]:
    """Rows that differ in block numbers alone become one, with {i} for the number."""
    groups: dict[Line, list[Line]] = {}
    for line in lines:
        theirs = tuple(NUMBER.sub("{i}", name) for name in line.theirs)
        ours = None if line.ours is None else NUMBER.sub("{i}", line.ours)
        groups.setdefault(replace(line, theirs=theirs, ours=ours), []).append(line)
    return [replace(key, times=len(group)) if len(group) > 1 else group[0] for key, group in groups.items()]


def table(lines: Sequence[Line], with_ours: bool) -> list[str]:
    """The table of tensors, aligned."""
    rows = [["in the file", "ours" if with_ours else "", "shape", "dtype", ""]]
    for line in lines:
        operation = "" if line.operation == "keep" else line.operation
        ours = "" if line.ours is None else "=" if (line.ours,) == line.theirs else line.ours
        theirs = braces(line.theirs) if line.theirs else "(not in the file)"
        rows.append([theirs + times(line), ours, size(line), line.dtype, operation])
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells padded to common widths."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def braces(names: Sequence[str]) -> str:
    """Several names as one: "attn.{q,k,v}_proj.weight"."""
    if len(names) == 1:
        return names[0]
    start = commonprefix(names)
    end = commonprefix([name[len(start) :][::-1] for name in names])[::-1]
    return f"{start}{{{','.join(name[len(start) : len(name) - len(end)] for name in names)}}}{end}"


def size(line: Line) -> str:
    """A shape for people."""
    return " x ".join(map(str, line.shape)) or "one number"


def times(line: Line) -> str:
    """How often a row stands for blocks that are alike."""
    return f"  ({line.times} of them)" if line.times > 1 else ""
