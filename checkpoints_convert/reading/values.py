"""What a pickle may describe, as plain data, and the two ways in which reading it ends badly."""

from dataclasses import dataclass, field
from typing import Any


class Refused(Exception):
    """The pickle names things that are not data; `.names` lists them in the order of the file."""

    def __init__(self, names: list[str]):
        super().__init__(", ".join(names))
        self.names = names


class Damaged(Exception):
    """Not a pickle, one that breaks off or makes no sense, or one that would cost more than its size allows."""


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle mentions, as text: "torch.FloatStorage"."""

    text: str


@dataclass(frozen=True)
class Storage:
    """A block of numbers elsewhere in the file: its type ("torch.FloatStorage"), its name, its length in elements.

    `view` is (first element, number of elements): the older files describe a part of a block as a storage.
    """

    kind: str
    key: str
    length: int
    view: tuple[int, int] | None = None


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as the pickle describes it: offset and strides are in elements of the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str | None = None


@dataclass
class Thing:
    """An instance of a class that was not imported: its name and its attributes, inert."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)
