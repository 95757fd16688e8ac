"""Pixels & Prompts: compact models that read from top to bottom and load the official weights.

`minimodels.load("tiny-clip")` gives an embedded model in eval mode, with `.preprocess` and `.tokenize` beside it.
"""

from typing import TYPE_CHECKING, Any

from minimodels.errors import UserError

if TYPE_CHECKING:
    from minimodels.stored.models import load

__all__ = ["UserError", "load"]


def __getattr__(name: str) -> Any:
    """`load`, once somebody asks for it: it needs torch, which the help of a command line does not wait for."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from minimodels.stored.models import load

    return load
