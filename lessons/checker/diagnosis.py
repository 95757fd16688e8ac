"""Why is it wrong? First the known mistakes, alone and in pairs; then plain patterns that any function can show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from lessons.checker.attempts import Answer, Case, NoGradient, Problem, attempt, gradients, same_answer
from lessons.checker.task import Mistake, Task
from lessons.checker.values import compare


def diagnose(
    task: Task, handed_in: Any, prepared: list[Case], answers: list[Answer], problem: Problem
) -> tuple[str, str] | None:
    """The sentence that names the mistake and what to do about it; None when nothing known fits."""
    if all(answer.error is not None for answer in answers):
        return None
    if changes_by_itself(task, handed_in, prepared[0], answers[0]):
        return (
            "Your function gives another answer each time it is called with the same inputs: is something random in "
            "it?",
            "",
        )
    if problem.gradient:
        return diagnose_gradient(task, prepared, answers)
    for mistake in [*task.mistakes, *task.pairs]:
        if explains(task, mistake, prepared, answers, problem.case):
            return f"Your output equals {mistake.text}.", mistake.fix
    if problem.difference is None:
        return None
    for words in patterns(prepared, answers):
        return words, ""
    return None


def explains(task: Task, mistake: Mistake, prepared: list[Case], answers: list[Answer], first: int) -> bool:
    """Whether the mistake gives the learner's answer in every case; the first wrong case is tried first."""
    order = [first, *(at for at in range(len(prepared)) if at != first)]
    return all(same_answer(task, answers[at], attempt(task, mistake.handed_in, prepared[at])) for at in order)


def changes_by_itself(task: Task, handed_in: Any, case: Case, answer: Answer) -> bool:
    """Whether a second call with the same inputs gives something else."""
    if answer.error is not None or answer.changed:
        return False
    again = attempt(task, handed_in, case)
    if again.error is not None:
        return True
    return not isinstance(answer.value, type(None)) and compare(again.value, answer.value, 1e-6) is not None


def diagnose_gradient(task: Task, prepared: list[Case], answers: list[Answer]) -> tuple[str, str] | None:
    """A right answer with a wrong gradient: a known mistake that does the same, or the usual cause."""
    first = next(at for at, answer in enumerate(answers) if gradient_differs(prepared[at].gradients, answer.gradients))
    for mistake in task.mistakes:
        if same_answer(task, answers[first], attempt(task, mistake.handed_in, prepared[first])):
            theirs = gradients(task, mistake.handed_in, prepared[first])
            if not gradient_differs(theirs, answers[first].gradients):
                return f"Your output equals {mistake.text}.", mistake.fix
    found = answers[first].gradients or {}
    dead = [name for name in task.gradients if isinstance(value := found.get(name), Tensor) and not value.any()]
    if isinstance(found.get("error"), NoGradient) or dead:
        names = " and ".join(dead or task.gradients)
        return (
            f"The path from {names} to the answer is cut.",
            "detach(), .data, .item(), numpy(), torch.tensor(...) and torch.no_grad() cut it.",
        )
    return None


def gradient_differs(one: dict | None, other: dict | None) -> bool:
    """Whether two sets of gradients differ, or one of them is an exception and the other is not."""
    one, other = one or {}, other or {}
    if "error" in one or "error" in other:
        return type(one.get("error")) is not type(other.get("error"))
    return compare(one, other, 1e-9) is not None


# ---------------------------------------------------------------- patterns that need no knowledge of the task
def patterns(prepared: list[Case], answers: list[Answer]) -> Iterator[str]:
    """Sentences about a single wrong tensor that hold in every case where the answer differs."""
    found = [(case, *first_wrong(case, answer)) for case, answer in zip(prepared, answers)]
    wrong = [(case, got, want) for case, got, want in found if got is not None and want is not None]
    if not wrong or any(answer.error is not None for answer in answers):
        return
    yield from multiples(wrong)
    for rule in (is_input, is_constant, is_shifted, is_moved, is_flipped, is_first_of_batch):
        told = [rule(case, got, want) for case, got, want in wrong]
        if all(told):
            yield told[0]


def first_wrong(case: Case, answer: Answer) -> tuple[Tensor | None, Tensor | None]:
    """The learner's and the reference's tensor at the first place where they differ."""
    got, want = answer.value, case.expected
    if isinstance(want, dict) and isinstance(got, dict) and got.keys() == want.keys():
        for name, item in want.items():
            if compare(got[name], item) is not None:
                got, want = got[name], item
                break
    if not isinstance(got, Tensor) or not isinstance(want, Tensor) or not want.is_floating_point() or want.numel() < 2:
        return None, None
    return (got.double(), want.double()) if compare(got, want) is not None else (None, None)


def near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-8, atol=1e-9)


def multiples(wrong: list[tuple[Case, Tensor, Tensor]]) -> Iterator[str]:
    """The reference times one number, or times a number that is some length or its root in every case."""
    factors = [factor_of(got, want) for _, got, want in wrong]
    if not all(factors):
        return
    if max(factors) - min(factors) < 1e-9:
        sign = abs(factors[0] + 1) < 1e-9
        yield (
            "Your output is the reference with the opposite sign."
            if sign
            else f"Your output is the reference times {factors[0]:.6g}."
        )
        return
    common = set.intersection(*(sources(factor, case) for factor, (case, _, _) in zip(factors, wrong)))
    if common:
        yield f"Your output is the reference times {min(common, key=len)} ({factors[0]:.6g} in the first case)."


def factor_of(got: Tensor, want: Tensor) -> float:
    """By which number `got` is a multiple of `want`; 0 when it is none."""
    if got.shape != want.shape or not (want.abs() > 1e-6).any():
        return 0.0
    biggest = want.abs().flatten().argmax()
    factor = float(got.flatten()[biggest] / want.flatten()[biggest])
    return factor if math.isfinite(factor) and abs(factor) > 1e-9 and near(got, want * factor) else 0.0


def sources(factor: float, case: Case) -> set[str]:
    """Where a factor may come from: the length of an axis or a number among the inputs, its root, or one over these."""
    lengths: dict[str, int] = {}
    for name, value in case.inputs.items():
        if isinstance(value, Tensor):
            lengths |= {f"axis {axis - value.ndim} of {name}": length for axis, length in enumerate(value.shape)}
        elif isinstance(value, int) and not isinstance(value, bool):
            lengths[name] = value
    found = set()
    for place, length in lengths.items():
        if length > 0:
            forms = {f"the length of {place}": length, f"1 / the length of {place}": 1 / length}
            forms |= {
                f"the root of the length of {place}": length**0.5,
                f"1 / the root of the length of {place}": length**-0.5,
            }
            found |= {
                words.replace("the length of ", "") if place in case.inputs else words
                for words, n in forms.items()
                if abs(factor - n) < 1e-9
            }
    return found


def is_input(case: Case, got: Tensor, want: Tensor) -> str:
    for name, value in case.inputs.items():
        if isinstance(value, Tensor) and value.is_floating_point() and near(got, value.double()):
            return f"Your output is the input {name}, unchanged."
    return ""


def is_constant(case: Case, got: Tensor, want: Tensor) -> str:
    if got.numel() > 1 and not got.isnan().any() and got.max() == got.min() and want.max() != want.min():
        return f"Each number of your output is {got.flatten()[0].item():.6g}: is the result ever written into it?"
    return ""


def is_shifted(case: Case, got: Tensor, want: Tensor) -> str:
    if got.shape != want.shape:
        return ""
    shift = float((got - want).flatten()[0])
    return f"Your output is the reference plus {shift:.6g} everywhere." if near(got, want + shift) else ""


def is_moved(case: Case, got: Tensor, want: Tensor) -> str:
    """Axes swapped, whether or not the shape shows it."""
    for a, b in combinations(range(want.ndim), 2):
        if near(got, want.transpose(a, b)):
            return f"Your output is the reference with axes {a} and {b} swapped."
    if got.shape != want.shape and got.numel() == want.numel() and near(got.flatten(), want.flatten()):
        return f"Your numbers are right, in the shape {tuple(got.shape)} instead of {tuple(want.shape)}."
    return ""


def is_flipped(case: Case, got: Tensor, want: Tensor) -> str:
    for axis in range(want.ndim):
        if want.shape[axis] > 1 and near(got, want.flip(axis)):
            return f"Your output is the reference in reverse order along axis {axis}."
    return ""


def is_first_of_batch(case: Case, got: Tensor, want: Tensor) -> str:
    if got.shape == want.shape and want.ndim > 1 and len(want) > 1 and near(got[0], want[0]):
        return "Your output is right for the first item of axis 0 and wrong for the others: is a batch of one assumed?"
    return ""
