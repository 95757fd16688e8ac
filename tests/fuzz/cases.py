"""What is tried: a case is plain data, so that it can be kept in a file; a target makes cases and tries them."""

import base64
import hashlib
import importlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

FOUND = Path(__file__).parent / "found"
TARGETS = Path(__file__).parent / "targets"


class Wrong(Exception):
    """An answer that is wrong, and nobody was told."""


@dataclass(frozen=True)
class Case:
    """One try.

    Args:
        target: the name of the target that knows what to do with it.
        values: anything that JSON can hold.
        files: what lies in the folder that the try is given: relative path -> bytes.
    """

    target: str
    values: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def to_json(self) -> str:
        """The case as text; surrogates and all."""
        packed = {name: base64.b64encode(zlib.compress(data, 9)).decode() for name, data in self.files.items()}
        return json.dumps({"target": self.target, "values": dict(self.values), "files": packed}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> "Case":
        """The inverse."""
        about = json.loads(text)
        files = {name: zlib.decompress(base64.b64decode(data)) for name, data in about["files"].items()}
        return Case(about["target"], about["values"], files)

    def keep(self, folder: Path) -> Path:
        """Write it into a folder; the name says the target."""
        text = self.to_json()
        path = folder / f"{self.target}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


@dataclass(frozen=True)
class Target:
    """One thing that takes input of unknown origin.

    Args:
        name: unique; the start of the names of its files in `found/`.
        make: random numbers -> a case's values and files.
        run: values and the folder with the files -> a word for what came of it ("read", "converted" ...). `UserError`
            is a refusal; `Wrong` and every other exception is a finding.
        prepare: done once before any case: small models, files to be damaged.
        share: how much of the time it gets beside the others.
        seconds: of processor time that a case may take.
        megabytes: of memory by which a case may make the process larger.
    """

    name: str
    make: Callable[[Random], tuple[Mapping[str, Any], Mapping[str, bytes]]]
    run: Callable[[Mapping[str, Any], Path], str | None]
    prepare: Callable[[], object] = lambda: None
    share: float = 1.0
    seconds: float = 5.0
    megabytes: int = 300

    def case(self, seed: str, number: int) -> Case:
        """The case of that number: always the same."""
        return Case(self.name, *self.make(Random(f"{self.name} {seed} {number}")))


def all_targets() -> dict[str, Target]:
    """Every target of every file in `targets/`."""
    modules = [importlib.import_module(f"tests.fuzz.targets.{file.stem}") for file in sorted(TARGETS.glob("[a-z]*.py"))]
    return {target.name: target for module in modules for target in module.TARGETS}
