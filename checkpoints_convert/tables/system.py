"""What a table file declares: its formats, and how the architecture is read off the tensors.

A system (ViT, CLIP ...) has one table a reference format and one function that reads the architecture off our own,
converted tensors, so that it is written once whatever the format was.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from checkpoints_convert.tables.rules import Converted, Table
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, number, shown, whole

Architecture = tuple[str, dict[str, Any]]  # class name, constructor arguments
Check = Callable[[Any, str], Any]  # a value that nobody has checked, what a message calls it -> the value, or UserError


@dataclass(frozen=True)
class Format:
    """One reference library's names for a system.

    Args:
        table: its names and ours.
        told: what shapes cannot tell and this format's released weights share (epsilons, activation ...).
        marks: names of which at least one must be present, where two formats share all others.
        computed: tensors ready to be written -> buffers that the official file holds too and that follow from them.
        target: what `export` calls these names, where neither the format's name nor its beginning says it.
        takes: our constructor's arguments -> the library's class that loads an exported file strictly, as
            "transformers.ViTModel, built with add_pooling_layer=False"; empty where it has none for this model. None:
            the library's own code does not load strictly either, or a newer spelling is the one to write.
    """

    table: Table
    told: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    computed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = lambda _: {}
    target: str = ""
    takes: Callable[[Mapping[str, Any]], str] | None = None


@dataclass(frozen=True)
class System:
    """One of our models and the formats its official weights come in.

    Args:
        name: as in `build(tensors, name)`.
        formats: format name -> `Format`.
        architecture: our tensors and what was told -> class name and constructor arguments. A tensor it needs may be
            missing: KeyError.
        told: what a caller may tell, and how each value is checked before `architecture` sees it.
        from_config: a transformers / timm / open_clip config -> the same keys.
        surroundings: constructor arguments, format name, what lies beside the weights (each JSON file by its name
            without .json) -> "preprocess" and, where text is read, "tokenizer", as `minimodels.stored.models.save`
            stores them.
        join: tensors of a file that holds a part alone, tensors of the CLIP it was trained on -> both. A caller tells
            the second as `clip`.
        adapt: what a table made of a checkpoint and the constructor arguments chosen for it: change the first to fit
            the second (bias tables of another window, a head that is not wanted), or say why it cannot.
        features: what other models have that this one has not: a regular expression for names of tensors -> how a
            message calls it.
        lent: what official files leave out and another official checkpoint has, where it is on this machine: key for
            `surroundings` -> that checkpoint's name and the file ("vocabulary" -> BERT's "vocab.txt").
        own_config: the JSON file beside weights, without .json, that only this system's library writes.
    """

    name: str
    formats: Mapping[str, Format]
    architecture: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Architecture]
    told: Mapping[str, Check]
    from_config: Callable[[Settings], dict[str, Any]]
    surroundings: Callable[[Mapping[str, Any], str, Settings], dict[str, Any]] = lambda *_: {}
    join: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    adapt: Callable[[Converted, Mapping[str, Any]], None] = lambda *_: None
    features: Mapping[str, str] = field(default_factory=dict)
    lent: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    own_config: str = ""


HEADS: Check = partial(whole, most=4096)
EPSILON: Check = partial(number, above=0, most=1)
MOST_PIXELS = 65536  # a side of a picture


def two_sides(value: Any, what: str) -> tuple[int, int]:
    """A picture's size in pixels: (height, width), or one number for both; UserError else."""
    sides = value if isinstance(value, (list, tuple)) else (value, value)
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= MOST_PIXELS for side in sides):
        raise UserError(f"{what} is {shown(value)}, expected (height, width) in pixels, or one number for both")
    return sides[0], sides[1]


def unwrapped(tensors: Mapping[str, Tensor], systems: Mapping[str, System]) -> Mapping[str, Tensor]:
    """The tensors without what training put before every name ("module.", "model.", "_orig_mod." ...), said aloud.

    Names that some table knows are left alone, and so are those that none knows without their first part either.
    """
    tables = [form.table for system in systems.values() for form in system.formats.values()]
    names, dropped = list(tensors), ""
    while names and not known_by_half(names, tables):
        first = names[0].partition(".")[0] + "."
        if not all(name.startswith(first) and name != first for name in names):
            return tensors
        names, dropped = [name.removeprefix(first) for name in names], dropped + first
    if not dropped:
        return tensors
    words = f"every name begins with {dropped!r}, which is left out: the model was saved inside another one"
    warnings.warn(words, stacklevel=2)
    return dict(zip(names, tensors.values()))


def known_by_half(names: Sequence[str], tables: Sequence[Table]) -> bool:
    """Whether a table knows half of these names, as `detect` asks for."""
    return any(table.knows(names) * 2 >= len(names) for table in tables)


def detect(tensors: Mapping[str, Tensor], systems: Mapping[str, System]) -> tuple[str, str]:
    """System and format whose table knows the most names, at least half of them; of several, the one of fewest rows.

    A table with rows to spare describes more than what came: a timm ViT fits DINOv2's table too, and is none. The order
    of the systems decides nothing; of a system's formats that know as much with as many rows, the first is meant.

    Raises:
        UserError: no table does.
    """
    names = list(tensors)
    best, most = ("", ""), (0, 0)
    for system in sorted(systems.values(), key=lambda system: system.name):
        for format_name, form in system.formats.items():
            known = form.table.knows(names), -len(form.table.rules)
            if known > most and (not form.marks or any(mark in tensors for mark in form.marks)):
                best, most = (system.name, format_name), known
    if most[0] * 2 < len(names) or not names:
        listed = ", ".join(names[:5]) or "no tensor at all"
        tables = [form.table for system in systems.values() for form in system.formats.values()]
        every = {pattern: words for system in systems.values() for pattern, words in system.features.items()}
        features = features_of([name for name in names if not any(table.knows([name]) for table in tables)], every)
        raise UserError(
            f"these tensors belong to no model we know ({listed}{' ...' if len(names) > 5 else ''})"
            f"{': they have ' if features else ''}{features}; "
            f"known: {', '.join(systems)}. Is it the checkpoint of another model, or one part of it?"
        )
    return best


def features_of(names: Iterable[str], features: Mapping[str, str]) -> str:
    """What other models have and these names show, each with its first name; empty where there is nothing of it."""
    found: dict[str, str] = {}
    for name in names:
        for pattern, feature in features.items():
            if re.search(pattern, name):
                found.setdefault(feature, name)
    return ", ".join(f"{feature} ({name})" for feature, name in found.items())


def count_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules there are under a prefix: 'blocks.' -> depth."""
    numbers = {name[len(prefix) :].split(".", 1)[0] for name in tensors if name.startswith(prefix)}
    return len(numbers)


def mean_and_std(config: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """The "mean" and "std" of a config, where it has them."""
    return {key: tuple(config[key]) for key in ("mean", "std") if config.get(key)}
