"""Calls of a handed-in function and of its reference on the same inputs: answers, gradients, and whether they agree."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lessons.checker.errors import Trouble
from lessons.checker.task import Random, Task
from lessons.checker.values import Difference, compare, fresh


@dataclass(frozen=True)
class Case:
    """Inputs with the reference's answer and gradients."""

    inputs: dict[str, Any]
    expected: Any
    gradients: dict[str, Any]


@dataclass
class Answer:
    """What one call gave: a value or an exception, which inputs it changed, and gradients where they were asked for."""

    value: Any = None
    error: BaseException | None = None
    changed: list[str] = field(default_factory=list)
    gradients: dict[str, Any] | None = None


@dataclass(frozen=True)
class Problem:
    """The first thing that is wrong: in which case, and either an exception, a difference, or a plain sentence."""

    case: int
    trouble: Trouble | None = None
    difference: Difference | None = None
    text: str = ""
    gradient: str = ""


class NoGradient(Exception):
    """An answer that does not depend on its inputs as far as autograd can tell."""


@cache
def cases(task: Task, seed: int) -> list[Case]:
    """The task's inputs with the reference's answers; made once for each seed."""
    return [Case(inputs, *_expected(task, inputs)) for inputs in task.cases(Random(seed))]


def _expected(task: Task, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    with torch.no_grad():
        value = task.reference(*fresh(inputs).values())
    return value, _gradients(task, task.reference, inputs, last_name(value)) if task.gradients else {}


def last_name(expected: Any) -> str | None:
    """Of named steps the last one is the answer; gradients are taken of it."""
    return list(expected)[-1] if isinstance(expected, dict) else None


def attempt(task: Task, handed_in: Any, case: Case) -> Answer:
    """One call on copies of the inputs, without gradients; whatever it raises is caught."""
    inputs = fresh(case.inputs)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = task.call(handed_in, *inputs.values())
    except (KeyboardInterrupt, Exception, SystemExit) as error:
        return Answer(error=error)
    changed = [name for name in inputs if _was_changed(inputs[name], case.inputs[name])]
    return Answer(fresh(value) if changed else value, changed=changed)


def _was_changed(now: Any, before: Any) -> bool:
    if callable(before):
        return False
    return compare(now, before, tolerance=0) is not None


def gradients(task: Task, handed_in: Any, case: Case) -> dict[str, Any]:
    """Gradients of a random weighting of the answer; an exception stands under its own name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _gradients(
                task, lambda *inputs: task.call(handed_in, *inputs), case.inputs, last_name(case.expected)
            )
    except (Exception, SystemExit) as error:
        return {"error": error}


def _gradients(task: Task, function: Callable, inputs: dict[str, Any], answer_name: str | None) -> dict[str, Any]:
    copies = fresh(inputs)
    wanted = {name: _with_gradient(copies[name]) for name in task.gradients}
    answer = function(*copies.values())
    if answer_name is not None:
        answer = answer[answer_name]
    if not answer.requires_grad:
        raise NoGradient("the answer carries no gradient")
    weights = torch.randn(answer.shape, generator=torch.Generator().manual_seed(1), dtype=answer.dtype)
    (answer * weights).sum().backward()
    return {name: _gradient_of(value) for name, value in wanted.items()}


def _with_gradient(value: Any) -> Any:
    for tensor in value.values() if isinstance(value, dict) else [value]:
        if tensor.is_floating_point():
            tensor.requires_grad_(True)
    return value


def _gradient_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _gradient_of(tensor) for name, tensor in value.items() if tensor.is_floating_point()}
    return torch.zeros_like(value) if value.grad is None else value.grad.detach()


def same_answer(task: Task, mine: Answer, other: Answer) -> bool:
    """Whether two answers are the same: equal values and changes to inputs, or exceptions of one type."""
    if mine.error is not None or other.error is not None:
        return type(mine.error) is type(other.error)
    if mine.changed != other.changed:
        return False
    if isinstance(mine.value, Tensor) and isinstance(other.value, Tensor) and mine.value.dtype != other.value.dtype:
        loose = mine.value.is_floating_point() and other.value.is_floating_point()
        return (
            loose and mine.value.shape == other.value.shape and close(mine.value.double(), other.value.double(), 1e-4)
        )
    return close(mine.value, other.value, task.tolerance)


def close(mine: Any, other: Any, tolerance: float) -> bool:
    """Equal in both directions, so that a list is not taken for a tensor."""
    return compare(mine, other, tolerance) is None and compare(other, mine, tolerance) is None
