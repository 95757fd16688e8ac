"""One handed-in function beside its reference, case by case; runs in the process that calls it.

Order of what is looked at: it can be called; no exception; type, shape, device, kind of numbers; NaN; the numbers,
named steps first things first; the number format; the inputs are unchanged; the gradients. The first thing that is
wrong is told, then diagnosed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lessons.checker.attempts import Answer, Case, NoGradient, Problem, attempt, cases, gradients
from lessons.checker.diagnosis import diagnose
from lessons.checker.errors import explain, wrong_arguments
from lessons.checker.task import Task, plain_call
from lessons.checker.values import compare, describe_inputs


@dataclass
class Verdict:
    """How one task went. `status`: passed, failed or unwritten. `details`: (label, text) pairs in reading order."""

    status: str
    headline: str = ""
    details: list[tuple[str, str]] = field(default_factory=list)
    diagnosis: str = ""
    fix: str = ""
    line: int | None = None


def judge(task: Task, handed_in: Any, seed: int = 0, file: str = "") -> Verdict:
    """Run what was handed in on every case and say how it went."""
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
