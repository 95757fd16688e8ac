"""Honest alternative solutions: right, and written as nobody here would. Each must pass its exercise's check.

`@honest("2.1.2")` hands in a function under its own name; what follows a double underscore only tells two ways apart.
"""

from collections.abc import Callable
from typing import Any

ALTERNATIVES: list[tuple[str, str, Any]] = []


def honest(number: str) -> Callable:
    """Keep a function as an alternative solution of an exercise."""

    def keep(function: Any) -> Any:
        hand_in(number, function.__name__.partition("__")[0], function)
        return function

    return keep


def hand_in(number: str, name: str, thing: Any) -> None:
    """Keep anything else, such as a table."""
    ALTERNATIVES.append((number, name, thing))
