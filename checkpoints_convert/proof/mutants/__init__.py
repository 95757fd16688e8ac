"""Wrong models, each wrong in one thing that a person gets wrong and shapes forgive: one small file a system.

A file declares `MUTANTS`, a list of `Mutant`; `mutants_of` finds it by the system's name. A mutant is applied to one of
our models, whoever holds it: a parity test, which it must fail, or a check that looks for a reader's mistake.

    with mutant.applied(model):
        ...     # here the model is wrong
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

from torch import nn

from checkpoints_convert.proof.references import Trial

MISSING = object()
Change = Callable[[Any], None]  # what is done to a converted model, in place


@dataclass(frozen=True)
class StandIn:
    """A function or number of one of our files, and what stands in its place while the mutant is applied."""

    owner: Any
    attribute: str
    wrong: Any

    @contextmanager
    def __call__(self) -> Iterator[None]:
        right = vars(self.owner).get(self.attribute, MISSING)
        setattr(self.owner, self.attribute, self.wrong)
        try:
            yield
        finally:
            if right is MISSING:  # it hid a built-in function
                delattr(self.owner, self.attribute)
            else:
                setattr(self.owner, self.attribute, right)


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Args:
        name: the mistake in a learner's words.
        change: what it does to a converted model in place, or what stands in for a function that the model calls.
        beside: (model, library) of the reference that tells it from the right model; None where no library can.
        trial: the sizes and inputs on which it does.
        cases: the official cases that tell it, where a library cannot.
    """

    name: str
    change: Change | StandIn
    beside: tuple[str, str] | None = None
    trial: Trial = field(default_factory=Trial)
    cases: tuple[str, ...] = ()

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model with the mistake. A change in place stays; what stood in for a function is gone afterwards."""
        if isinstance(self.change, StandIn):
            with self.change():
                yield model
        else:
            self.change(model)
            yield model


# ---------------------------------------------------------------- ways to change a model


def each(cls: type[nn.Module], change: Change) -> Change:
    """Do it to every module of a class."""

    def change_all(model: nn.Module) -> None:
        changed = [module for module in model.modules() if isinstance(module, cls)]
        assert changed, f"there is no {cls.__name__}"
        for module in changed:
            change(module)

    return change_all


def become(cls: type[nn.Module]) -> Change:
    """Every module of the class that `cls` extends becomes a `cls`; weights stay."""
    base = next(parent for parent in cls.__mro__[1:] if parent.__module__.startswith("minimodels"))

    def change(model: nn.Module) -> None:
        changed = [module for module in model.modules() if type(module) is base]
        assert changed, f"nothing to change into {cls.__name__}"
        for module in changed:
            module.__class__ = cls

    return change


def inside(path: str, change: Change) -> Change:
    """Do it to one part of the model, or to every part of a list of them."""

    def change_part(model: nn.Module) -> None:
        part = model.get_submodule(path)
        for module in part if isinstance(part, nn.ModuleList) else [part]:
            change(module)

    return change_part


def methods(cls: type[nn.Module], **wrong: Callable[..., Any]) -> Change:
    """Functions that take the module first, in the place of methods, in every module of a class."""

    def replace(module: nn.Module) -> None:
        for name, function in wrong.items():
            setattr(module, name, MethodType(function, module))

    return each(cls, replace)


def put(name: str, value: Any) -> Change:
    """Another value of an attribute."""
    return lambda module: setattr(module, name, value)


def swap(first: str, second: str) -> Change:
    """Two parts change places."""

    def change(module: nn.Module) -> None:
        one, two = getattr(module, first), getattr(module, second)
        setattr(module, first, two)
        setattr(module, second, one)

    return change


def forget(path: str) -> Change:
    """Leave a module out."""

    def change(model: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, nn.Identity())

    return change


def clear(path: str) -> Change:
    """A parameter that was never loaded: zeros."""

    def change(model: nn.Module) -> None:
        nn.init.zeros_(model.get_parameter(path))

    return change


# ---------------------------------------------------------------- found, not listed


def mutants_of(system: str) -> list[Mutant]:
    """The wrong models of a system; none where it has no file here."""
    name = f"{__name__}.{system}"
    return getattr(importlib.import_module(name), "MUTANTS", []) if importlib.util.find_spec(name) else []


def all_mutants() -> dict[str, list[Mutant]]:
    """{system: its wrong models}."""
    found = {file.name: mutants_of(file.name) for file in pkgutil.iter_modules(__path__)}
    return {system: mutants for system, mutants in found.items() if mutants}
