"""Classes that a file may name, found by looking where they live: a new model or preprocess is listed nowhere.

The name comes from a file that somebody sent. Only a class that one of our own files defines is ever given, and only
that file is imported.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

PACKAGE = Path(__file__).parents[1]


def model_class(name: str) -> type[nn.Module] | None:
    """The model of that name, None where no file at minimodels' top level defines one (or two do)."""
    cls = find_class(name, "minimodels")
    return cls if cls is not None and issubclass(cls, nn.Module) else None


def preprocess_class(name: str) -> type[Any] | None:
    """The preprocess of that name, from minimodels/pixels/preprocess*.py."""
    cls = find_class(name, "minimodels.pixels", "preprocess")
    return cls if cls is not None and is_dataclass(cls) and "__call__" in vars(cls) else None


@cache
def tokenizer_kinds() -> dict[str, Callable[..., Any]]:
    """What makes the tokenizer of each kind that a file may name: the KINDS of the files in minimodels/words."""
    kinds: dict[str, Callable[..., Any]] = {}
    for path in sorted((PACKAGE / "words").glob("[!_]*.py")):
        if re.search(r"^KINDS\b", path.read_text(encoding="utf-8"), re.M):
            kinds |= importlib.import_module(f"minimodels.words.{path.stem}").KINDS
    return kinds


@cache
def find_class(name: str, package: str, start: str = "") -> type[Any] | None:
    """The class that exactly one file of the package defines, its subpackages aside; the other files stay unloaded.

    Args:
        name: of the class, from anywhere: what is no name of a public class finds nothing.
        package: "minimodels" or a package in it.
        start: how the file's name begins.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        return None
    folder, defined = PACKAGE.parent.joinpath(*package.split(".")), re.compile(rf"^class {name}\b", re.M)
    files = [path for path in folder.glob(f"{start}*.py") if not path.name.startswith("_")]
    places = [path.stem for path in files if defined.search(path.read_text(encoding="utf-8"))]
    if len(places) != 1:
        return None
    cls = getattr(importlib.import_module(f"{package}.{places[0]}"), name, None)
    return cls if isinstance(cls, type) else None
