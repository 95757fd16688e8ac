"""All systems: the models whose official weights we read and write, one file of this folder each, found by looking."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from types import ModuleType

from checkpoints_convert.tables.catalogue import Entry
from checkpoints_convert.tables.system import System
from minimodels.errors import UserError


@cache
def table_files() -> tuple[ModuleType, ...]:
    """The files that declare a `SYSTEM`, in the order of the alphabet; a file without one is a tool of the others."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names)
    return tuple(module for module in modules if hasattr(module, "SYSTEM"))


@cache
def entries() -> tuple[Entry, ...]:
    """Every official checkpoint we know the way to: what each file declares as its `ENTRIES`."""
    return tuple(entry for module in table_files() for entry in getattr(module, "ENTRIES", ()))


class Systems(Mapping[str, System]):
    """The systems by name. The files are imported at the first look: what needs no table waits for none."""

    @cached_property
    def found(self) -> dict[str, System]:
        """What each file declares as its `SYSTEM`."""
        return {module.SYSTEM.name: module.SYSTEM for module in table_files()}

    def __getitem__(self, name: str) -> System:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


SYSTEMS = Systems()


def find_system(name: str) -> System:
    """The system of that name.

    Raises:
        UserError: there is none.
    """
    if name not in SYSTEMS:
        raise UserError(f"unknown system {name!r}; there are: {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
