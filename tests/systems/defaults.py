"""What a class takes when nothing is told, beside a table from the paper or the released code."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def defaults(callable_: Callable[..., Any]) -> dict[str, Any]:
    """Names of arguments and their defaults."""
    parameters = inspect.signature(callable_).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def empty(cls: Callable[..., nn.Module], *args: Any, **numbers: Any) -> nn.Module:
    """A model of shapes only, at any size."""
    with torch.device("meta"):
        return cls(*args, **numbers)


def parameters(model: nn.Module) -> int:
    """How many numbers it learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def epsilons(model: nn.Module) -> set[float]:
    """The epsilons of all its LayerNorms and BatchNorms."""
    return {part.eps for part in model.modules() if isinstance(part, nn.LayerNorm | nn.BatchNorm2d)}
