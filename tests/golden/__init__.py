"""Golden cases: numbers computed once, in float64, with the official repositories' own code.

A case is a folder with `config.json` (its `system` and `kind` say how to run it), `case.npz` (arrays `in.*` and
`out.*`) and `keys.json` (the official names and shapes; `fill.py` makes every tensor from these alone). One module a
system, found by its name, says how to run each kind:

    KINDS = {"model": run_model, ...}            in tests/systems/<system>/golden.py
    def run_model(case, device): return case.judge({"out.image_features": ..., ...})

Key lists (`"kind": "keys"`) of any system that has a table run without one: the converter must take every name.

    python -m tests.golden CASE_DIR ...
"""

import importlib
import importlib.util
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from checkpoints_convert import build
from checkpoints_convert.proof.compare import difference
from checkpoints_convert.tables import SYSTEMS
from minimodels.errors import UserError
from tests.golden import fill

TOLERANCE = 1e-10
SHOWN_ONLY = ("f32", "f32pos")  # the official code in float32, in whole or in part: shown, not judged


@dataclass(frozen=True)
class Line:
    """One line of the report: what, whether it is right (None: shown, not judged), and how far off."""

    name: str
    ok: bool | None
    text: str
    distance: float | None = None  # of an array of floating numbers

    def __str__(self) -> str:
        status = {True: "OK", False: "DIFF", None: "--"}[self.ok]
        return f"{status:<5} {self.name:<28} {self.text}"


@dataclass
class Case:
    """A folder, read."""

    path: Path
    config: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def tolerance(self) -> float:
        return float(self.config.get("tolerance", TOLERANCE))

    def read(self, name: str) -> Any:
        """A JSON file of the case."""
        return read_json(self.path / name)

    def keys(self, name: str = "keys.json") -> list[tuple[str, list[int], str]]:
        """[[name, shape, dtype], ...] as the official checkpoint has them."""
        keys = self.read(name)
        for entry in keys if isinstance(keys, list) else [keys]:
            if not (isinstance(entry, list) and len(entry) == 3 and hasattr(torch, str(entry[2]))):
                raise UserError(f"{self.path / name} must hold [[name, shape, dtype], ...], it has {str(entry)[:60]}")
        return [tuple(entry) for entry in keys]

    def checkpoint(self, name: str = "keys.json", dtype: str = "float64") -> dict[str, Tensor]:
        """Every tensor of a key list; whole numbers are zero (they are counters)."""
        keys = self.keys(name)
        tensors = fill.checkpoint(keys, self.config.get("salt", 0), dtype)
        whole = {key: torch.zeros(shape, dtype=getattr(torch, kind)) for key, shape, kind in keys if key not in tensors}
        return {key: {**tensors, **whole}[key] for key, _, _ in keys}

    def empty_checkpoint(self, name: str = "keys.json") -> dict[str, Tensor]:
        """The same at full size without numbers: names, shapes and dtypes on the meta device."""
        return {
            key: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for key, shape, kind in self.keys(name)
        }

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """An array of the case; floating ones in `dtype`."""
        if name not in self.arrays:
            raise UserError(f"{self.path / 'case.npz'} has no array {name}")
        tensor = torch.from_numpy(self.arrays[name])
        return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor

    def numbered(self, pattern: str) -> list[re.Match[str]]:
        """What the names of the case's arrays say where they fit a pattern: sets of points, counts, sizes."""
        return [found for name in self.arrays if (found := re.fullmatch(pattern, name))]

    def judge(self, computed: Mapping[str, Any], parts: Mapping[str, str] | None = None) -> list[Line]:
        """Every array that is no input, against what was computed: whole numbers and booleans exactly.

        Where the case stores a part of an array, the same part of ours is taken: as `subsampled` in config.json says,
        else as the kind does it (`parts`, by name), see `thin`.
        """
        subsampled = {**(parts or {}), **self.config.get("subsampled", {})}
        lines = []
        for name, stored in self.arrays.items():
            if name.startswith("in."):
                continue
            judged = not any(part in SHOWN_ONLY for part in name.split("."))
            if name not in computed:
                lines.append(Line(name, False if judged else None, "nothing here computes it"))
                continue
            ours, golden = torch.as_tensor(computed[name]).detach().cpu(), torch.from_numpy(stored)
            ours = thin(ours, tuple(golden.shape), subsampled.get(name, ""))
            lines.append(judge_one(name, ours, golden, self.tolerance, judged))
        return lines


def judge_one(name: str, ours: Tensor, golden: Tensor, tolerance: float, judged: bool) -> Line:
    """One array."""
    shape = " x ".join(map(str, golden.shape)) or "one number"
    if ours.shape != golden.shape:
        return Line(
            name, False if judged else None, f"{shape}, ours is {' x '.join(map(str, ours.shape)) or 'one number'}"
        )
    if ours.is_floating_point() and golden.is_floating_point():
        distance = difference(ours.double(), golden.double())
        text = f"{shape}: largest difference {distance:.1e}" + (f", allowed {tolerance:.0e}" if judged else "")
        return Line(name, distance <= tolerance if judged else None, text, distance)
    wrong = int((ours != golden).sum())
    return Line(name, wrong == 0 if judged else None, f"{shape}: {wrong} of {golden.numel()} differ, exact is asked")


def thin(tensor: Tensor, shape: tuple[int, ...], words: str) -> Tensor:
    """The part of an array that a case stores, along each axis that is shorter there.

    "first 16 channels only" takes the first ones, "every 4th channel only" every fourth; without a number the step is
    what makes the sizes fit.
    """
    if tensor.ndim != len(shape) or not words:
        return tensor
    told = re.search(r"every (\d+)", words)
    for axis, (have, want) in enumerate(zip(tensor.shape, shape)):
        if 0 < want < have:
            step = int(told[1]) if told else -(-have // want)
            part = slice(want) if "first" in words else slice(None, None, step)
            tensor = tensor[(slice(None),) * axis + (part,)]
    return tensor


# ---------------------------------------------------------------- reading and running


def read_case(path: str | Path) -> Case:
    """A case folder.

    Raises:
        UserError: it is no folder, or its config or arrays cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; give the folder of a golden case, it holds a config.json")
    config = read_json(path / "config.json")
    for key in ("system", "kind"):
        if not isinstance(config, dict) or not re.fullmatch(r"[a-z][a-z0-9_]*", str(config.get(key, ""))):
            raise UserError(f"{path / 'config.json'} names no {key}; a golden case's config does")
    arrays: dict[str, np.ndarray] = {}
    if (path / "case.npz").exists():
        try:
            with np.load(path / "case.npz", allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path / 'case.npz'} cannot be read ({error}); is it complete?") from error
    return Case(path, config, arrays)


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        UserError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from error


def take(case: Case, make: Callable[[dict[str, Tensor]], nn.Module], buffers: bool = False) -> tuple[list[Line], Any]:
    """What comes of a key list: the lines to show, and the model, None where the converter refuses a name.

    Args:
        case: its config may tell the official number of `parameters`.
        make: converts the whole list, tensors without numbers.
        buffers: the official number counts stored tensors that are not learned too.
    """
    tensors = case.empty_checkpoint()
    try:
        model = make(tensors)
    except UserError as error:
        return [Line("names", False, str(error))], None
    ours = model.state_dict()
    lines = [Line("names", True, f"{len(tensors)} official names become our {len(ours)} tensors")]
    if "parameters" in case.config:
        counted = ours.values() if buffers else model.parameters()
        count, wanted = sum(tensor.numel() for tensor in counted), case.config["parameters"]
        lines.append(Line("parameters", count == wanted, f"ours {count:,}, official {wanted:,}"))
    return lines, model


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """The converter takes every official name, and our model has the official number of parameters."""
    told = case.config.get("told", {})
    return take(case, lambda tensors: build(tensors, case.config["system"], **told))[0]


def system_module(system: str) -> ModuleType | None:
    """What runs a system's cases, `tests/systems/<system>/golden.py`; None where there is no such file."""
    package = "tests.systems"
    if not (importlib.util.find_spec(f"{package}.{system}") and importlib.util.find_spec(f"{package}.{system}.golden")):
        return None
    return importlib.import_module(f"{package}.{system}.golden")


def run_case(case: Case, device: str | torch.device = "cpu") -> list[Line]:
    """The lines of one case.

    Raises:
        UserError: nothing runs its system or its kind, or a config or array that the kind needs is missing.
    """
    system, kind = case.config["system"], case.config["kind"]
    kinds = {"keys": run_keys} if system in SYSTEMS else {}
    kinds |= getattr(system_module(system), "KINDS", {})
    if not kinds:
        raise UserError(f"{case.path}: nothing here runs the system {system!r}")
    if kind not in kinds:
        raise UserError(f"{case.path}: {system} has no kind {kind!r}; there are: {', '.join(kinds)}")
    try:
        lines = kinds[kind](case, torch.device(device))
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"{case.path}: config.json or the files beside it lack what is needed ({error!r})") from error
    if not any(line.ok is not None for line in lines):
        raise UserError(f"{case.path}: there is nothing to judge in it; is case.npz missing?")
    return lines
