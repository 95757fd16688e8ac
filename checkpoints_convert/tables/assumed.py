"""What neither shapes nor a config tell: assumed as in the released models, and said aloud; and what both tell."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from minimodels.errors import UserError
from minimodels.errors.untrusted import shown


def heads_of(width: int, released: Mapping[int, int], key: str) -> int:
    """The heads that every released model of this width has.

    Raises:
        UserError: none has this width, or those that have it differ.
    """
    if width not in released:
        raise UserError(
            f"nothing beside these weights tells {key}, and no width of {width} has a number of heads that all "
            f"released models share: tell it ({key}=...)"
        )
    return released[width]


def say_assumed(assumed: Mapping[str, Any], hint: str = "") -> None:
    """Warn of every value that nothing told."""
    values = ", ".join(f"{key}={value}" for key, value in assumed.items())
    warnings.warn(
        f"nothing beside these weights tells {' and '.join(assumed)}: as in the released models, {values} is assumed; "
        f"say so where it is not{f'. {hint}' if hint else ''}",
        stacklevel=2,
    )


def check_sizes(arguments: Mapping[str, Any], told: Mapping[str, Any], sizes: Iterable[str]) -> None:
    """Every told size is the one that the shapes have.

    Raises:
        UserError: one is not.
    """
    for name in sizes:
        if name in told and told[name] != arguments.get(name):
            raise UserError(
                f"{name} is told as {shown(told[name])}, the shapes say {shown(arguments.get(name))}: "
                "does the config beside the weights belong to another model?"
            )
