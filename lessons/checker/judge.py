"""One handed-in function beside its reference, case by case; runs in the process that calls it.

Order of what is looked at: it can be called; no exception; type, shape, device, kind of numbers; NaN; the numbers,
named steps first things first; the number format; the inputs are unchanged; the gradients. The first thing that is
wrong is told, then diagnosed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lessons.checker.errors import Trouble, explain, wrong_arguments
from lessons.checker.task import Random, Task, plain_call
from lessons.checker.values import Difference, compare, describe_inputs, fresh


@dataclass
class Verdict:
    """How one task went. `status`: passed, failed or unwritten. `details`: (label, text) pairs in reading order."""

    status: str
    headline: str = ""
    details: list[tuple[str, str]] = field(default_factory=list)
    diagnosis: str = ""
    fix: str = ""
    line: int | None = None


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


def judge(task: Task, handed_in: Any, seed: int = 0, file: str = "") -> Verdict:
    """Run what was handed in on every case and say how it went."""
    from lessons.checker.diagnosis import diagnose

    prepared = cases(task, seed)
    if task.call is plain_call and (text := wrong_arguments(handed_in, prepared[0].inputs)):
        return Verdict("failed", text)
    answers = [attempt(task, handed_in, case) for case in prepared]
    if any(isinstance(answer.error, NotImplementedError) for answer in answers):
        return Verdict("unwritten", "not written yet")
    problem = first_problem(task, prepared, answers, file)
    if problem is None and task.gradients:
        for answer, case in zip(answers, prepared):
            answer.gradients = gradients(task, handed_in, case)
        problem = first_gradient_problem(task, prepared, answers)
    if problem is None:
        return Verdict("passed", passed_text(task, len(prepared)))
    verdict = told(task, prepared, problem)
    diagnosis = diagnose(task, handed_in, prepared, answers, problem)
    if diagnosis:
        verdict.diagnosis, verdict.fix = diagnosis
    return verdict


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


def first_problem(task: Task, prepared: list[Case], answers: list[Answer], file: str) -> Problem | None:
    """Exceptions of any case first, then differences, then changed inputs."""
    for at, answer in enumerate(answers):
        if answer.error is not None:
            return Problem(at, trouble=explain(answer.error, file))
    for at, (case, answer) in enumerate(zip(prepared, answers)):
        difference = compare(answer.value, case.expected, task.tolerance)
        if difference:
            return Problem(at, difference=difference)
    for at, answer in enumerate(answers):
        if answer.changed:
            return Problem(
                at, text=f"the answer is right, but your function changes its input {' and '.join(answer.changed)}"
            )
    return None


def first_gradient_problem(task: Task, prepared: list[Case], answers: list[Answer]) -> Problem | None:
    """The first gradient that differs, in the order in which the task names them."""
    for at, (case, answer) in enumerate(zip(prepared, answers)):
        found = answer.gradients or {}
        if isinstance(found.get("error"), NoGradient):
            return Problem(
                at, text="the answer is right, but no gradient flows back from it to the inputs", gradient="all"
            )
        if "error" in found:
            text = f"the answer is right, but the backward pass stops: {found['error']}".splitlines()[0]
            return Problem(at, text=text, gradient="all")
        for name in task.gradients:
            difference = compare(found[name], case.gradients[name], max(task.tolerance, 1e-9))
            if difference:
                return Problem(at, difference=difference, gradient=name)
    return None


def told(task: Task, prepared: list[Case], problem: Problem) -> Verdict:
    """A problem as a verdict: headline, then the details in the order to read them."""
    verdict = Verdict("failed")
    shown = f"{problem.case + 1} of {len(prepared)}: {describe_inputs(prepared[problem.case].inputs)}"
    if problem.trouble:
        trouble = problem.trouble
        verdict.headline, verdict.line = trouble.text, trouble.line
        verdict.details += [(f"line {trouble.line}" if trouble.line else "", trouble.code)] if trouble.code else []
        verdict.details += [("shapes there", trouble.shapes)] if trouble.shapes else []
        verdict.details += [("Python says", trouble.python)] if trouble.python else []
    elif problem.difference:
        difference = problem.difference
        verdict.headline = difference.text
        if problem.gradient:
            verdict.headline = f"the answer is right, the gradient of {problem.gradient} is not: {difference.text}"
        elif difference.kind == "value" and not difference.path:
            verdict.headline += f" from {task.like}"
        if difference.path:
            label = "gradient" if problem.gradient else first_label(prepared[problem.case].expected)
            verdict.details.append((label, plain_path(difference.path)))
        verdict.details += [("where", difference.where)] if difference.where else []
    else:
        verdict.headline = problem.text
    verdict.details.append(("case", shown))
    return verdict


def first_label(expected: Any) -> str:
    """Named steps are compared in order, so what differs is the first wrong one."""
    return "first wrong step" if isinstance(expected, dict) else "at"


def plain_path(path: str) -> str:
    """['scores'] -> scores; [2] -> [2]."""
    return path[2:-2] if path.startswith("['") and path.endswith("']") and path.count("[") == 1 else path


def passed_text(task: Task, count: int) -> str:
    """What was held equal."""
    extra = f", gradients of {', '.join(task.gradients)}" if task.gradients else ""
    return f"{count} {'case' if count == 1 else 'cases'}{extra}"


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
