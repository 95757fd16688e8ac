"""Exceptions in a learner's words: what happened, on which line, and which shapes met there."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lessons.checker.task import Unusable

# A pattern in Python's, torch's or einops' message, and what it means. Named groups are filled in.
MEANINGS = [
    (
        r"mat1 and mat2 shapes cannot be multiplied \((?P<a>\w+) and (?P<b>\w+)\)",
        "a matrix product of {a} with {b}: the last axis of the first must be as long as the last but one of the "
        "second",
    ),
    (
        r"Expected size for first two dimensions of batch2 tensor to be: \[(?P<a>[\d, ]+)\] but got: \[(?P<b>[\d, "
        r"]+)\]",
        "a product of batches of matrices does not fit: the second should start with ({a}), it starts with ({b})",
    ),
    (
        r"The size of tensor a \((?P<a>\d+)\) must match the size of tensor b \((?P<b>\d+)\) at non-singleton "
        r"dimension (?P<c>\d+)",
        "two tensors meet whose axis {c} has {a} and {b} places: only equal lengths, or a length of 1, go together",
    ),
    (
        r"shape '\[(?P<a>[-\d, ]+)\]' is invalid for input of size (?P<b>\d+)",
        "{b} numbers cannot be arranged as ({a}): the product of the shape must stay the same",
    ),
    (
        r"view size is not compatible",
        "view() needs the numbers to lie in this order in memory; after a transpose they do not: use reshape or "
        "rearrange",
    ),
    (
        r"Dimension out of range \(expected to be in range of \[(?P<a>-?\d+), (?P<b>-?\d+)\], but got (?P<c>-?\d+)\)",
        "axis {c} was asked for, this tensor has axes {a} to {b} only",
    ),
    (
        r"(Sizes of tensors must match except in dimension (?P<a>\d+)\. Expected size (?P<b>\d+) but got size "
        r"(?P<c>\d+))",
        "tensors are joined along axis {a}, but another axis has {b} places in one and {c} in the other",
    ),
    (
        r"(expected m1 and m2 to have the same dtype|expected scalar type (?P<a>\w+) but found (?P<b>\w+)|same "
        r"dtype, but got)",
        "two number formats meet; the inputs are float64, so a tensor you make needs dtype=x.dtype (and no .float())",
    ),
    (r"einsum\(\): .*|Error while processing rearrange", "the pattern does not fit the tensor"),
    (r"Can't call numpy\(\) on Tensor that requires grad", "numpy() cuts the gradient: stay in torch"),
    (r"EOF when reading a line", "your file waits for input(), and nobody is there to type during a check"),
    (r"tensors used as indices must be", "an index must be whole numbers or True and False"),
    (
        r"Boolean value of Tensor with more than one value",
        "an `if` needs one True or False, here it got a whole tensor",
    ),
    (r"DefaultCPUAllocator: can't allocate memory", "a tensor was asked for that is larger than the memory"),
]


@dataclass(frozen=True)
class Trouble:
    """One exception, in a learner's words and in Python's; the line of the learner's file, its code and shapes."""

    text: str
    python: str
    line: int | None = None
    code: str = ""
    shapes: str = ""


def explain(error: BaseException, file: str) -> Trouble:
    """Put an exception into a learner's words; `file` is the learner's, whose innermost line is the one to look at."""
    python = "".join(traceback.TracebackException.from_exception(error).format_exception_only()).strip()
    if isinstance(error, Unusable):
        return Trouble(str(error), "")
    if isinstance(error, SyntaxError) and error.filename == file:
        return explain_syntax(error)
    line, code, frame = innermost(error, file)
    return Trouble(meaning(error, python), shorten(python), line, code, shapes_on(code, frame))


def meaning(error: BaseException, python: str) -> str:
    """One sentence without Python's words, where one is known."""
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return "your file ends the program (exit, quit or sys.exit); leave that out, a function ends with return"
    if isinstance(error, RecursionError):
        return "your function calls itself without end"
    if isinstance(error, MemoryError):
        return "your function asks for more memory than a check may use: does a list grow without end?"
    for pattern, words in MEANINGS:
        if match := re.search(pattern, python):
            return words.format(**{name: value or "" for name, value in match.groupdict().items()})
    if isinstance(error, NameError):
        return "a name is used that nothing defines"
    return "Python stopped"


def explain_syntax(error: SyntaxError) -> Trouble:
    """A file that Python cannot read: the line, and a mark under the place."""
    line = error.lineno or 1
    code = (error.text or "").rstrip("\n")
    if error.offset and code.strip():
        code += "\n" + " " * (error.offset - 1) + "^"
    return Trouble("Python cannot read your file", f"{type(error).__name__}: {error.msg}", line, code)


def innermost(error: BaseException, file: str) -> tuple[int | None, str, Any]:
    """Line number, source line and frame of the deepest call that is in the learner's file."""
    found: tuple[int | None, str, Any] = (None, "", None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == file:
            summary = traceback.extract_stack(frame, limit=1)[0]
            found = (line, line_of(file, line) or (summary.line or ""), frame)
    return found


def line_of(file: str, line: int) -> str:
    """One line of a file, without the spaces around it."""
    try:
        with open(file, encoding="utf-8") as lines:
            return lines.readlines()[line - 1].strip()
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def shapes_on(code: str, frame: Any) -> str:
    """The shapes of the tensors named on a line: "q is (2, 5, 8), k is (2, 7, 8)"."""
    if frame is None:
        return ""
    from torch import Tensor  # not at the top: the command line reads this file without torch

    names = dict.fromkeys(re.findall(r"[A-Za-z_]\w*", code))
    parts = [
        f"{name} is {tuple(value.shape)}" for name in names if isinstance(value := frame.f_locals.get(name), Tensor)
    ]
    return ", ".join(parts)


def shorten(text: str, lines: int = 3, columns: int = 160) -> str:
    """The first lines of a long message."""
    kept = [line.strip()[:columns] for line in text.splitlines() if line.strip()]
    return " / ".join(kept[:lines])


def wrong_arguments(function: Callable, inputs: dict[str, Any]) -> str:
    """What is wrong with how many inputs a function takes; empty when the call fits."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*inputs.values())
    except TypeError:
        taken = ", ".join(signature.parameters) or "nothing"
        return f"your function takes ({taken}), the check calls it with ({', '.join(inputs)})"
    return ""
