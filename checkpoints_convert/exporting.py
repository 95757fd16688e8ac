"""Ours back under a library's own names: which spelling, which tensors, and which class of the library takes them."""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from checkpoints_convert.tables import SYSTEMS, find_system
from checkpoints_convert.tables.system import System
from minimodels.errors import UserError
from minimodels.stored.classes import model_class


@dataclass(frozen=True)
class Exported:
    """What `export` writes.

    Args:
        tensors: {reference name: tensor}.
        format: the spelling, a format of the model's system.
        takes: the library's class that loads them strictly ("transformers.ViTModel, built with ..."); empty where the
            library's own code does not load strictly either.
    """

    tensors: dict[str, Tensor]
    format: str
    takes: str


def targets() -> list[str]:
    """What people name: formats, without those that are another one's further spellings."""
    names = {name for system in SYSTEMS.values() for name, form in system.formats.items() if not form.target}
    return sorted(name for name in names if not any(name.startswith(f"{other}_") for other in names))


def known_targets() -> list[str]:
    """What people may name: also a spelling alone."""
    return sorted({*targets(), *(name for system in SYSTEMS.values() for name in system.formats)})


def export_as(model: nn.Module, target: str) -> Exported:
    """A model made by `build` or either `load` under the names of a target.

    A target may have several spellings (a ResNet tower, a backbone alone, an older version's): the first is written
    that holds every tensor of this model and that a class of the library takes.

    Raises:
        UserError: the model's system has no such format, or none of them can hold this model.
    """
    about: Mapping[str, Any] = model.about  # type: ignore[assignment]
    system, arguments = find_system(about["system"]), whole_arguments(about["class"], about["arguments"])
    for name in spellings(system, target, arguments):
        form = system.formats[name]
        with suppress(KeyError):
            tensors = form.table.export(model.state_dict())
            takes = form.takes(arguments) if form.takes else ""
            return Exported(tensors | form.computed(tensors), name, takes)
    raise UserError(
        f"the format {target!r} cannot hold this {type(model).__name__}; {system.name} has {', '.join(system.formats)}"
    )


def whole_arguments(class_name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A constructor's arguments as a file tells them, and what it leaves to the defaults; of parts too.

    Lists, which JSON has, are tuples again.
    """
    parameters = inspect.signature(model_class(class_name) or object).parameters.values()
    known = {one.name: one.default for one in parameters if one.default is not one.empty} | dict(arguments)
    for name, value in known.items():
        if isinstance(value, Mapping) and value.keys() == {"class", "arguments"}:
            known[name] = {**value, "arguments": whole_arguments(value["class"], value["arguments"])}
        elif isinstance(value, list):
            known[name] = tuple(value)
    return known


def spellings_of(system: System, target: str) -> list[str]:
    """All formats that a target stands for, its own and those that say so."""
    return [
        name
        for name, form in system.formats.items()
        if name == target or name.startswith(f"{target}_") or form.target == target
    ]


def spellings(system: System, target: str, arguments: Mapping[str, Any]) -> list[str]:
    """The formats of a target that may hold a model with these arguments.

    Where some say which class takes them, those alone: what no class of the library takes is written by nobody.

    Raises:
        UserError: the system has none.
    """
    found = spellings_of(system, target)
    if not found:
        raise UserError(f"{system.name} has no format {target!r}; there are: {', '.join(system.formats)}")
    declared = {name: takes for name in found if (takes := system.formats[name].takes) is not None}
    if not declared:
        return found
    taken = []
    for name, takes in declared.items():
        with suppress(KeyError):  # a file whose class is none of its system's lacks what is asked here
            taken += [name] if takes(arguments) else []
    return taken
