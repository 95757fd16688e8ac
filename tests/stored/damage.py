"""Every kind of damage that the metadata of our own model files can have: each key, at any depth, each odd value."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from minimodels.stored.models import JSON_KEYS

NESTED: Any = 7
for _ in range(200):
    NESTED = {"class": "CLIP", "arguments": {"clip": NESTED}}
ODD: dict[str, Any] = {
    "missing": ...,
    "null": None,
    "true": True,
    "0": 0,
    "-1": -1,
    "3": 3,
    "10**9": 10**9,
    "10**30": 10**30,
    "1.5": 1.5,
    "-0.5": -0.5,
    "0.0": 0.0,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "1e300": 1e300,
    "empty text": "",
    "text": "text",
    "surrogate": "\ud800",
    "long text": "x" * 10_000,
    "empty list": [],
    "list": [1, 2],
    "list of texts": ["a", "b"],
    "list of lists": [[1, 2], [3, 4]],
    "long list": [2**20] * 2000,
    "empty object": {},
    "object": {"class": "CLIP", "arguments": {}},
    "object of another": {"class": "ViT", "arguments": {"depth": 10**9}},
    "class of a number": {"class": 7, "arguments": []},
    "deep": NESTED,
}
TEXTS = ("", "{", "nothing", "[" * 100_000, "1" * 5000)


def places(tree: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of each value in a tree of JSON; of a list only its first and its last item."""
    if path:
        yield path
    keys = tree if isinstance(tree, dict) else [0, len(tree) - 1] if isinstance(tree, list) and tree else []
    for key in keys:
        yield from places(tree[key], (*path, key))


def damaged(about: dict[str, Any], step: int) -> Iterator[tuple[str, dict[str, str]]]:
    """What was done, and the metadata as a file has it: odd values at each place, an unknown key in each object.

    Of the odd values each place gets every `step`th; the next place begins with the next one.
    """
    for number, path in enumerate(places(about)):
        shown = ".".join(map(str, path))
        for name, value in list(ODD.items())[number % step :: step]:
            tree = copy.deepcopy(about)
            inner = inside(tree, path[:-1])
            if value is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
            yield f"{shown} = {name}", as_file(tree)
        tree = copy.deepcopy(about)
        if isinstance(inner := inside(tree, path), dict):
            inner["unknown"] = 1
            yield f"{shown} with an unknown key", as_file(tree)
    for key in JSON_KEYS:
        for text in TEXTS:
            yield f"{key} is the text {text[:20]!r}", {**as_file(about), key: text}


def inside(tree: Any, path: tuple) -> Any:
    """The value at a path."""
    for key in path:
        tree = tree[key]
    return tree


def as_file(about: dict[str, Any]) -> dict[str, str]:
    """Metadata as a file has it: texts."""
    return {
        key: json.dumps(value) if key in JSON_KEYS or not isinstance(value, str) else value.replace("\ud800", "?")
        for key, value in about.items()
    }
