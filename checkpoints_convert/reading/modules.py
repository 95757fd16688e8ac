"""TorchScript modules: their tensors by path, as `state_dict()` would name them. The archive's code is read as text."""

import re
from collections.abc import Iterable
from typing import Any

from checkpoints_convert.reading.blocks import Blocks
from checkpoints_convert.reading.budget import DEEPEST, Budget
from checkpoints_convert.reading.plainly import Plain
from checkpoints_convert.reading.records import Records
from checkpoints_convert.reading.values import Damaged, TensorSpec, Thing

OWN = "__torch__."  # the classes of an archive
CLASS = re.compile(r"^class (\w+)\(Module\):\n((?:  __\w+__ = \[.*\]\n)*)", re.M)
LISTS = re.compile(r"__(parameters|buffers)__ = \[(.*)\]")
IGNORED = ("training", "_is_full_backward_hook")


class Declarations:
    """Which attributes of an archive's classes are parameters and buffers: its code lists them."""

    def __init__(self, records: Records, root: str):
        self.records, self.root = records, root
        self.files: dict[str, dict[str, list[str]]] = {}

    def of(self, name: str) -> list[str] | None:
        """The names, parameters first; None where the archive does not say."""
        module, _, class_name = name.rpartition(".")
        file = f"{self.root}code/{module.replace('.', '/')}.py"
        if file not in self.files:
            code = self.records.read(file).decode("utf-8", "replace") if file in self.records else ""
            self.files[file] = declared(code)
        return self.files[file].get(class_name)


def declared(code: str) -> dict[str, list[str]]:
    """The parameters and buffers of each class in one file of code, read once."""
    found: dict[str, list[str]] = {}
    for match in CLASS.finditer(code):
        lists = dict(LISTS.findall(match[2]))
        if len(lists) == 2:
            found.setdefault(match[1], re.findall(r'"([^"]*)"', lists["parameters"] + lists["buffers"]))
    return found


def state_dict(value: Any, declarations: Declarations, blocks: Blocks, budget: Budget) -> dict[str, Any]:
    """The tensors of a TorchScript module by their path, and "attributes": what else its instances hold.

    Raises:
        Damaged: no module, modules in a circle, too deep, or too many paths to them.
    """
    if not isinstance(value, Thing):
        raise Damaged("a TorchScript archive without a module")
    tensors: dict[str, Any] = {}
    attributes: dict[str, Any] = {}

    def walk(thing: Thing, prefix: str, above: tuple[int, ...]) -> None:
        if id(thing) in above or len(above) > DEEPEST:
            raise Damaged("its modules are nested in a circle, or too deeply")
        declared = declarations.of(thing.name)
        names: Iterable[str] = thing.attributes if declared is None else declared
        budget.pay(sum(len(prefix) + len(name) for name in names))
        for name in names:
            if isinstance(spec := thing.attributes.get(name), TensorSpec):
                tensors[prefix + name] = blocks.tensor(spec)
        for name, item in thing.attributes.items():
            budget.pay(len(prefix) + len(name))
            if isinstance(item, Thing) and item.name.startswith(OWN):
                walk(item, f"{prefix}{name}.", (*above, id(thing)))
            elif prefix + name not in tensors and name not in IGNORED:
                attributes[prefix + name] = item

    walk(value, "", ())
    if attributes:
        tensors.setdefault("attributes", Plain(blocks, budget).of(attributes))
    return tensors
