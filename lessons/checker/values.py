"""Copy, describe and compare what goes into a function and what comes out: tensors, numbers, texts, lists, dicts."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Difference:
    """The first thing in which two values differ.

    `kind` is type, names, length, shape, dtype, device, nan or value; `path` leads to it (['scores'], [2]); `text` says
    it in one line and `where` which element and how far off.
    """

    kind: str
    path: str
    text: str
    where: str = ""


def fresh(value: Any) -> Any:
    """A copy that a learner may spoil: tensors are cloned, functions and modules are shared."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: fresh(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(fresh(item) for item in value)
    if isinstance(value, Mapping | set):
        return copy.copy(value)
    return value


def describe(value: Any) -> str:
    """A value in a few characters: (2, 3, 5) for a tensor, the thing itself for a number, a short text or a list."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}"
    if isinstance(value, dict) and len(repr(value)) > 60:
        return f"a dict of {len(value)}"
    if callable(value) and not isinstance(value, type):
        return "a function"
    text = repr(value)
    if len(text) <= 60:
        return text
    return f"{text[:56]} ..." if isinstance(value, str) else f"a {type(value).__name__} of {len(value)}"


def describe_inputs(inputs: Mapping[str, Any]) -> str:
    """q (2, 5, 8), num_heads = 2"""
    parts = []
    for name, value in inputs.items():
        joined = " " if isinstance(value, Tensor) or callable(value) else " = "
        parts.append(f"{name}{joined}{describe(value)}")
    return ", ".join(parts)


def type_name(value: Any) -> str:
    """The type in a learner's words."""
    if value is None:
        return "None"
    names = {
        bool: "a bool",
        int: "an int",
        float: "a float",
        str: "a str",
        Tensor: "a tensor",
        np.ndarray: "a numpy array",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def compare(
    got: Any, want: Any, tolerance: float = 1e-10, path: str = "", exact_dtype: bool = True
) -> Difference | None:
    """The first difference, or None. Named values are compared in the reference's order: the first wrong step first."""
    if isinstance(want, Tensor):
        return compare_tensors(got, want, tolerance, path, exact_dtype)
    if isinstance(want, Mapping):
        return compare_mappings(got, want, tolerance, path, exact_dtype)
    if isinstance(want, list | tuple):
        return compare_lists(got, want, tolerance, path, exact_dtype)
    if isinstance(got, Tensor | np.ndarray | np.generic) and isinstance(want, bool | int | float) and got.size == 1:
        got = got.item()
    if isinstance(got, Tensor) and isinstance(want, bool | int | float) and got.numel() == 1:
        got = got.item()
    return compare_plain(got, want, tolerance, path)


def compare_plain(got: Any, want: Any, tolerance: float, path: str) -> Difference | None:
    """Numbers, texts, None."""
    number = isinstance(want, int | float) and not isinstance(want, bool)
    if number and isinstance(got, int | float) and not isinstance(got, bool):
        if got == want or (math.isnan(got) and math.isnan(want)):
            return None
        if math.isnan(got):
            return Difference("nan", path, "not a number (NaN) came out", f"expected {want:.6g}")
        if isinstance(want, float) and abs(got - want) <= tolerance * (1 + abs(want)):
            return None
        where = f"yours {got:.6g}, expected {want:.6g}, off by {abs(got - want):.3g}"
        return Difference("value", path, "the number differs", where)
    if type(got) is not type(want) and not (isinstance(got, type(want)) and isinstance(want, str)):
        return Difference("type", path, f"{type_name(got)} came back, {type_name(want)} is expected")
    if got != want:
        return Difference("value", path, "the answer differs", f"yours {describe(got)}, expected {describe(want)}")
    return None


def compare_mappings(got: Any, want: Mapping, tolerance: float, path: str, exact_dtype: bool) -> Difference | None:
    """Dicts: the same names, whatever their order, then the values in the reference's order."""
    if not isinstance(got, Mapping):
        return Difference("type", path, f"{type_name(got)} came back, a dict with the names {names(want)} is expected")
    missing, extra = [name for name in want if name not in got], [name for name in got if name not in want]
    if missing or extra:
        parts = [f"missing: {names(missing)}"] if missing else []
        parts += [f"not expected: {names(extra)}"] if extra else []
        return Difference("names", path, "the names in the dict differ; " + "; ".join(parts))
    for name, item in want.items():
        found = compare(got[name], item, tolerance, f"{path}[{name!r}]", exact_dtype)
        if found:
            return found
    return None


def compare_lists(got: Any, want: list | tuple, tolerance: float, path: str, exact_dtype: bool) -> Difference | None:
    """Lists and tuples, one for the other; the first place where they differ."""
    if not isinstance(got, list | tuple):
        return Difference("type", path, f"{type_name(got)} came back, {type_name(want)} of {len(want)} is expected")
    for at, (mine, item) in enumerate(zip(got, want)):
        found = compare(mine, item, tolerance, f"{path}[{at}]", exact_dtype)
        if found:
            whole = (
                f"; the whole answer: yours {describe(got)}, expected {describe(want)}" if len(repr(want)) <= 60 else ""
            )
            return Difference(found.kind, found.path, found.text, found.where + whole)
    if len(got) != len(want):
        where = f"yours {describe(got)}, expected {describe(want)}"
        return Difference("length", path, f"{len(got)} items came back, {len(want)} are expected", where)
    return None


def compare_tensors(got: Any, want: Tensor, tolerance: float, path: str, exact_dtype: bool) -> Difference | None:
    """Type, shape, device, NaN, values, dtype, in this order: the message is about the first thing to repair."""
    if not isinstance(got, Tensor):
        advice = {"None": " (is a `return` missing?)", "a numpy array": " (stay in torch)"}.get(type_name(got), "")
        return Difference("type", path, f"{type_name(got)} came back, a tensor {tuple(want.shape)} is expected{advice}")
    if got.shape != want.shape:
        return Difference("shape", path, f"the shape is {tuple(got.shape)}, expected {tuple(want.shape)}")
    if got.device != want.device:
        return Difference("device", path, f"the answer is on the device {got.device}, its inputs are on {want.device}")
    if kind(got) != kind(want):
        return Difference("dtype", path, f"{plain(got.dtype)} came back, {plain(want.dtype)} is expected")
    single = want.is_floating_point() and got.dtype != want.dtype
    found = compare_numbers(got.detach(), want.detach(), max(tolerance, 1e-5) if single else tolerance, path)
    if found is None and single and exact_dtype:
        return Difference(
            "dtype", path, f"{plain(got.dtype)} came back, {plain(want.dtype)} is expected like the inputs"
        )
    return found


def compare_numbers(got: Tensor, want: Tensor, tolerance: float, path: str) -> Difference | None:
    """Element by element; NaN and infinities must stand where the reference has them."""
    if not want.is_floating_point():
        wrong = got != want
        gap = (got.double() - want.double()).abs()
    else:
        got, want = got.to(want.dtype), want
        gap = (got - want).abs()
        wrong = ~((gap <= tolerance * (1 + want.abs())) | (got == want) | (got.isnan() & want.isnan()))
        gap = gap.nan_to_num(nan=math.inf)
    count = int(wrong.sum())
    if count == 0:
        return None
    at = int(torch.where(wrong, gap, -1.0).argmax())
    index = [int(i) for i in torch.unravel_index(torch.tensor(at), want.shape)] if want.ndim else []
    mine, theirs = got.flatten()[at].item(), want.flatten()[at].item()
    off = "" if want.dtype == torch.bool else f", off by {abs(mine - theirs):.3g}"
    where = (
        f"{'at ' + str(index) + ': ' if index else ''}yours {number_text(mine)}, expected {number_text(theirs)}{off}"
    )
    if want.numel() > 1:
        where += f" (the largest); {count} of {want.numel()} numbers differ"
    if want.is_floating_point() and got[wrong].isnan().any():
        nans = int((got.isnan() & ~want.isnan()).sum())
        return Difference("nan", path, f"{nans} of {want.numel()} numbers are NaN (not a number)", where)
    return Difference("value", path, "the numbers differ", where)


def kind(tensor: Tensor) -> str:
    """float, complex, bool or int: what a dtype is without its width."""
    if tensor.dtype == torch.bool:
        return "bool"
    return "float" if tensor.is_floating_point() else "complex" if tensor.is_complex() else "int"


def plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def number_text(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def names(items: Any) -> str:
    """The first eight names, in quotes."""
    listed = list(items)
    shown = ", ".join(repr(name) for name in listed[:8])
    return shown + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
