"""What a table file declares, and how a checkpoint becomes a model: convert names, read sizes, build, assign.

A system (ViT, CLIP ...) has one table a reference format and one function that reads the architecture off our own,
converted tensors, so that it is written once whatever the format was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.files import check_dtypes
from checkpoints_convert.tables import Converted, Table
from minimodels import tiny
from minimodels.errors import UserError

Architecture = tuple[str, dict[str, Any]]  # class name, constructor arguments
COUNTER = "num_batches_tracked"  # BatchNorm's count of training steps: no answer depends on it, and files may omit it
SHOWN = 12  # an error lists this many problems before it counts the rest


@dataclass(frozen=True)
class Format:
    """One reference library's names for a system.

    Args:
        table: its names and ours.
        told: what shapes cannot tell and this format's released weights share (epsilons, activation ...).
        marks: names of which at least one must be present, where two formats share all others.
        computed: tensors ready to be written -> buffers that the official file holds too and that follow from them.
    """

    table: Table
    told: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    computed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = lambda _: {}


@dataclass(frozen=True)
class System:
    """One of our models and the formats its official weights come in.

    Args:
        name: as in `build(tensors, name)`.
        formats: format name -> `Format`.
        architecture: our tensors and what was told -> class name and constructor arguments. A tensor it needs may be
            missing: KeyError.
        told_keys: what a caller may tell.
        from_config: a transformers / timm / open_clip config (parsed JSON) -> the same keys.
        surroundings: constructor arguments, format name, the JSON files beside the weights -> "preprocess" and, where
            text is read, "tokenizer", as `minimodels.tiny.save` stores them.
        join: tensors of a file that holds a part alone, tensors of the CLIP it was trained on -> both. A caller tells
            the second as `clip`.
        adapt: what a table made of a checkpoint and the constructor arguments chosen for it: change the first to fit
            the second (bias tables of another window, a head that is not wanted), or say why it cannot.
    """

    name: str
    formats: Mapping[str, Format]
    architecture: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Architecture]
    told_keys: tuple[str, ...]
    from_config: Callable[[Mapping[str, Any]], dict[str, Any]]
    surroundings: Callable[[Mapping[str, Any], str, Mapping[str, Any]], dict[str, Any]] = lambda *_: {}
    join: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    adapt: Callable[[Converted, Mapping[str, Any]], None] = lambda *_: None


def detect(tensors: Mapping[str, Tensor], systems: Mapping[str, System]) -> tuple[str, str]:
    """System and format whose table knows the most names, at least half of them.

    Raises:
        UserError: no table does.
    """
    names = list(tensors)
    best, most = ("", ""), 0
    for system in systems.values():
        for format_name, form in system.formats.items():
            known = form.table.knows(names)
            if known > most and (not form.marks or any(mark in tensors for mark in form.marks)):
                best, most = (system.name, format_name), known
    if most * 2 < len(names) or not names:
        shown = ", ".join(names[:5]) or "no tensor at all"
        raise UserError(
            f"these tensors belong to no model we know ({shown}{' ...' if len(names) > 5 else ''}); "
            f"known: {', '.join(systems)}. Is it the checkpoint of another model, or one part of it?"
        )
    return best


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
    told = dict(told)
    if system.join is not None and "clip" in told:
        tensors = system.join(tensors, told.pop("clip"))
    check_told(told, system)
    form = system.formats[format_name]
    converted = form.table.convert(tensors)
    what = f"{system.name} checkpoint in {format_name} names"
    try:
        class_name, arguments = system.architecture(converted.tensors, {**form.told, **told})
        system.adapt(converted, arguments)
        model = tiny.build(class_name, arguments)
    except KeyError as error:
        problems = [*converted.problems, f"the sizes cannot be read without {error}"]
        raise UserError(report(f"incomplete {what}", problems)) from error
    except (ArithmeticError, IndexError, TypeError, ValueError, RuntimeError) as error:  # shapes that no model has
        reason = str(error) if isinstance(error, UserError) else " ".join(str(error).split())[:160]
        problems = [*converted.problems, f"its shapes make no model: {reason}"]
        raise UserError(report(f"unusable {what}", problems)) from error
    for name in model.state_dict():
        if name.endswith(COUNTER):
            converted.tensors.setdefault(name, torch.tensor(0))
    problems = converted.problems + compare_shapes(converted, model)
    if problems:
        raise UserError(report(f"this {what} does not fill our {class_name}", problems))
    check_dtypes(converted.tensors, what)
    ready = {name: _cast(tensor, dtype or _common_dtype(tensors), device) for name, tensor in converted.tensors.items()}
    check_finite(ready, what)
    model.load_state_dict(ready, assign=True)
    about = {"system": system.name, "class": class_name, "arguments": arguments, "format": format_name}
    model.about = about  # type: ignore[assignment]
    return model.eval().to(device)  # the tensors are there already; buffers that no file holds follow


def check_told(told: Mapping[str, Any], system: System) -> None:
    """Only what the system asks.

    Raises:
        UserError: something else.
    """
    for key in told:
        if key not in system.told_keys:
            raise UserError(f"{system.name} cannot be told {key!r}; it takes: {', '.join(system.told_keys)}")


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
    for name in converted.tensors.keys() - wanted.keys():
        problems.append(f"no place for {' + '.join(converted.sources[name][0])} (our {name})")
    return problems


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Sums carry every NaN and infinity, and read each number once. Tensors without numbers (meta device) pass.

    Raises:
        UserError: some tensor holds NaN or infinity.
    """
    bad = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
        and not tensor.is_meta
        and not torch.isfinite(tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32)))
    ]
    if bad:
        raise UserError(
            f"{what}: {len(bad)} of {len(tensors)} tensors hold NaN or infinite values, first {', '.join(bad[:3])}; "
            "the file is damaged, or its training diverged. Fetch it again."
        )


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


def count_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules there are under a prefix: 'blocks.' -> depth."""
    numbers = {name[len(prefix) :].split(".", 1)[0] for name in tensors if name.startswith(prefix)}
    return len(numbers)


def mean_and_std(config: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """The "mean" and "std" of a config, where it has them."""
    return {key: tuple(config[key]) for key in ("mean", "std") if config.get(key)}
