"""How a checkpoint becomes a model: convert names, read sizes, build, assign."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.reading.files import check_dtypes
from checkpoints_convert.tables.rules import Converted
from checkpoints_convert.tables.system import System, features_of
from minimodels.errors import UserError
from minimodels.stored import models
from minimodels.stored.finite import check_finite

COUNTER = "num_batches_tracked"  # BatchNorm's count of training steps: no answer depends on it, and files may omit it
SHOWN = 12  # an error lists this many problems before it counts the rest


def build_model(
    tensors: Mapping[str, Tensor],
    system: System,
    format_name: str,
    told: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> nn.Module:
    """A filled model in eval mode. `.about` says how it was built.

    Raises:
        UserError: one message that lists every unknown name, every tensor of ours left unfilled, every shape that
            differs; weights that are not floating numbers, or not finite; something told that this system does not ask.
    """
    told = check_told(told, system)
    if system.join is not None and "clip" in told:
        tensors = system.join(tensors, told.pop("clip"))
    form = system.formats[format_name]
    converted = form.table.convert(tensors)
    what = f"{system.name} checkpoint in {format_name} names"
    check_features(converted, system, what)
    try:
        class_name, arguments = system.architecture(converted.tensors, {**form.told, **told})
        system.adapt(converted, arguments)
        model = models.build(class_name, arguments)
    except KeyError as error:
        problems = [*converted.problems, f"the sizes cannot be read without {error}"]
        raise UserError(report(f"incomplete {what}", problems)) from error
    except (ArithmeticError, IndexError, TypeError, ValueError, RuntimeError) as error:  # shapes that no model has
        told_so = isinstance(error, UserError)
        reason = str(error) if told_so else f"its shapes make no model: {' '.join(str(error).split())[:160]}"
        problems = [*converted.problems, reason]
        raise UserError(report(f"unusable {what}", problems)) from error
    for name in model.state_dict():
        if name.endswith(COUNTER):
            converted.tensors.setdefault(name, torch.tensor(0))
    problems = converted.problems + compare_shapes(converted, model)
    if problems:
        raise UserError(report(f"this {what} does not fill our {class_name}", problems))
    check_dtypes(used(converted, tensors), what)
    ready = {name: _cast(tensor, dtype or _common_dtype(tensors), device) for name, tensor in converted.tensors.items()}
    check_finite(ready, what)
    model.load_state_dict(ready, assign=True)
    about = {"system": system.name, "class": class_name, "arguments": arguments, "format": format_name}
    model.about = about  # type: ignore[assignment]
    return model.eval().to(device)  # the tensors are there already; buffers that no file holds follow


def used(converted: Converted, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the checkpoint's weights were made of, as the file has it; of what `adapt` made, that. No counters."""
    found: dict[str, Tensor] = {}
    for ours, tensor in converted.tensors.items():
        names, _ = converted.sources.get(ours, ([], ""))
        known = {name: tensors[name] for name in names if name in tensors}
        found |= {} if ours.endswith(COUNTER) else known or {ours: tensor}
    return found


def check_features(converted: Converted, system: System, what: str) -> None:
    """No part that other models have and this system has not.

    Raises:
        UserError: there is one; it is told by what it is.
    """
    if features := features_of(converted.unknown, system.features):
        raise UserError(f"this {what} is another model than ours: it has {features}")


def check_told(told: Mapping[str, Any], system: System) -> dict[str, Any]:
    """Only what the system asks, each value of the right type and within its bounds.

    Raises:
        UserError: something else.
    """
    for key in told:
        if key not in system.told:
            raise UserError(f"{system.name} cannot be told {key!r}; it takes: {', '.join(system.told) or 'nothing'}")
    return {key: system.told[key](value, key) for key, value in told.items()}


def compare_shapes(converted: Converted, model: nn.Module) -> list[str]:
    """Each of ours left unfilled, each tensor with no place, each shape that differs."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = []
    for name, shape in wanted.items():
        if name not in converted.tensors:
            problems.append(f"missing: our {name} {shape} is filled by nothing in the checkpoint")
        elif tuple(converted.tensors[name].shape) != shape:
            came = tuple(converted.tensors[name].shape)
            problems.append(
                f"wrong shape: {' + '.join(converted.sources[name][0])} gives {came}, our {name} is {shape}"
            )
    for name in (one for one in converted.tensors if one not in wanted):
        problems.append(f"no place for {' + '.join(converted.sources[name][0])} (our {name})")
    return problems


def report(head: str, problems: list[str]) -> str:
    """One message for all problems; the first ones whole."""
    rest = f" ... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return f"{head}: " + "; ".join(problems[:SHOWN]) + rest


def _common_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The checkpoint's dtype when it has one, float32 when it mixes several (OpenAI's mix float16 and float32)."""
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    return dtypes.pop() if len(dtypes) == 1 else torch.float32


def _cast(tensor: Tensor, dtype: torch.dtype, device: str | torch.device | None) -> Tensor:
    """To the asked dtype and device; the same memory when nothing changes."""
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
