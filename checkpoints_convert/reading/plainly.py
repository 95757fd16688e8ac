"""Values of a pickle as plain Python: tensors made, names as text, instances as dictionaries; each value once.

What comes out may be printed, compared and hashed without harm: it is a tree that ends, not deeper than `DEEPEST`, and
printing all of it, what is mentioned twice twice, takes a bounded number of letters.
"""

from collections.abc import Iterable
from typing import Any

from checkpoints_convert.reading.blocks import Blocks
from checkpoints_convert.reading.budget import DEEPEST, Budget
from checkpoints_convert.reading.values import Damaged, Name, Storage, TensorSpec, Thing

CONTAINER = 8  # steps of a list, dictionary, tuple or set
TOO_DEEP = f"its values are nested deeper than {DEEPEST} levels"
Measured = tuple[Any, int, int]  # a plain value, its size with everything in it, how many levels it has


class Plain:
    """Turns the values of one file into plain Python."""

    def __init__(self, blocks: Blocks, budget: Budget):
        self.blocks, self.budget = blocks, budget
        self.done: dict[int, Measured | None] = {}  # by the value's place in memory; None: under way

    def of(self, value: Any) -> Any:
        """The plain value.

        Raises:
            Damaged: nested too deeply or in a circle, or a few values mentioned so often that they are too many.
        """
        return self._convert(value, 0)[0]

    def _convert(self, value: Any, depth: int) -> Measured:
        self.budget.pay(1)
        if isinstance(value, TensorSpec):
            return self.blocks.tensor(value), 1, 0
        if isinstance(value, Name):
            return value.text, len(value.text), 0
        if isinstance(value, Storage):
            return f"a {value.kind}", 1, 0
        if isinstance(value, (str, bytes)):
            return value, 1 + len(value), 0
        if not isinstance(value, (dict, list, tuple, set, frozenset, Thing)):
            return value, 1, 0
        if id(value) not in self.done:
            self.budget.pay(CONTAINER)
            if depth >= DEEPEST:
                raise Damaged(TOO_DEEP)
            self.done[id(value)] = None
            self.done[id(value)] = self._container(value, depth + 1)
        known = self.done[id(value)]
        if known is None:
            raise Damaged("a value that holds itself")
        return known

    def _container(self, value: Any, depth: int) -> Measured:
        if isinstance(value, (dict, Thing)):
            items = value.attributes if isinstance(value, Thing) else value
            keys, sizes, _ = self._all(items, depth)
            values, more, levels = self._all(items.values(), depth)
            return dict(zip(keys, values)), 1 + sizes + more, 1 + levels
        parts, size, levels = self._all(value, depth)
        kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
        return kind(parts), 1 + size, 1 + levels

    def _all(self, values: Iterable[Any], depth: int) -> tuple[list[Any], int, int]:
        """The plain values, the size of all together, the levels of the deepest."""
        parts, size, levels = [], 0, 0
        for value in values:
            part, its_size, its_levels = self._convert(value, depth)
            parts.append(part)
            size, levels = size + its_size, max(levels, its_levels)
            if size > self.budget.expanded or levels >= DEEPEST:
                raise Damaged(TOO_DEEP if levels >= DEEPEST else "a few of its values are mentioned too often")
        return parts, size, levels
