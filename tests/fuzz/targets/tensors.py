"""State dicts of every system and format with tensors missing, renamed, of another shape or type, NaN, shared, added.

Where ours is built from them all the same, it answers as the library's model with these tensors.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.__main__ import main
from checkpoints_convert.proof.references import Reference
from checkpoints_convert.reading.files import write_tensors
from checkpoints_convert.tables import SYSTEMS
from tests.fuzz import bases
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.command import command
from tests.fuzz.odd import odd_text
from tests.fuzz.same import assert_same_answers

TensorDict = dict[str, Tensor]
DTYPES = ("float16", "bfloat16", "float64", "int64", "int32", "int8", "uint8", "bool", "complex64", "float8_e4m3fn")
PREFIXES = ("module.", "model.", "net.", "_orig_mod.", "backbone.", "state_dict.", "", "x")
OTHERS = ("pooler", "head", "classifier", "register_tokens")  # without these it is another model of the library's
CHANGES = ("drop", "drop", "rename", "reshape", "dtype", "value", "add", "prefix", "share", "block", "some", "swap")


def make(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A model, and one to three changes of its tensors."""
    title = rng.choice(list(bases.reference_models()))
    names = list(bases.reference_models()[title][1].state_dict())
    changes = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind, name, other = rng.choice(CHANGES), rng.choice(names), rng.choice(names)
        detail: Any = {
            "rename": rng.choice((odd_text(rng), name + "_", name.upper(), other, "module." + name)),
            "reshape": rng.choice(("flat", "row more", "row less", "t", "1 before", "1 behind", "empty", "scalar")),
            "dtype": rng.choice(DTYPES),
            "value": rng.choice(("nan", "inf", "-inf", "3", "0", "denormal")),
            "add": rng.choice((odd_text(rng), "head.weight", "extra", other + ".extra", "num_batches_tracked")),
            "prefix": rng.choice(PREFIXES),
            "block": rng.choice(("drop last", "double last", "gap", "leading zero")),
            "some": rng.choice((0.1, 0.5, 0.9)),
        }.get(kind, other)
        changes.append([kind, name, detail])
    how = rng.choice(("build", "build", "build", "build", "inspect", "convert"))
    return {"model": title, "changes": changes, "how": how, "suffix": rng.choice((".pt", ".safetensors"))}, {}


def change(tensors: TensorDict, kind: str, name: str, detail: Any) -> TensorDict:
    """One change."""
    if name not in tensors and kind not in ("prefix", "block", "some", "add"):
        return tensors
    tensors = dict(tensors)
    if kind == "drop":
        tensors.pop(name)
    elif kind == "rename":
        tensors = {detail if key == name else key: tensor for key, tensor in tensors.items()}
    elif kind == "reshape":
        tensors[name] = reshaped(tensors[name], detail)
    elif kind == "dtype":
        tensors[name] = tensors[name].to(getattr(torch, detail))
    elif kind == "value":
        tensors[name] = with_value(tensors[name], detail)
    elif kind == "add":
        tensors[detail] = torch.ones(3)
    elif kind == "prefix":
        tensors = {detail + key: tensor for key, tensor in tensors.items()}
    elif kind == "share":
        tensors[name] = tensors[detail] if detail in tensors else tensors[name]
    elif kind == "swap" and detail in tensors:
        tensors[name], tensors[detail] = tensors[detail], tensors[name]
    elif kind == "block":
        tensors = other_blocks(tensors, detail)
    elif kind == "some":
        tensors = {key: tensor for at, (key, tensor) in enumerate(tensors.items()) if (at * 7919) % 100 < 100 * detail}
    return tensors


def reshaped(tensor: Tensor, how: str) -> Tensor:
    rows = tensor.flatten(1) if tensor.ndim > 1 else tensor.reshape(-1, 1)
    if how == "row more":
        return torch.cat([tensor, tensor[:1]]) if tensor.ndim else tensor.reshape(1)
    if how == "row less":
        return tensor[:-1] if tensor.ndim else tensor
    shapes = {"flat": tensor.flatten(), "t": rows.t(), "1 before": tensor[None], "1 behind": tensor[..., None]}
    return shapes[how] if how in shapes else tensor.new_zeros(0) if how == "empty" else tensor.new_tensor(1)


def with_value(tensor: Tensor, value: str) -> Tensor:
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    tensor = tensor.clone().contiguous()
    tensor.view(-1)[tensor.numel() // 2] = 1e-40 if value == "denormal" else float(value)
    return tensor


def other_blocks(tensors: TensorDict, how: str) -> TensorDict:
    """Another number of numbered blocks, or other numbers."""
    numbered = [name for name in tensors if any(part.isdecimal() for part in name.split("."))]
    if not numbered:
        return tensors
    prefix = numbered[-1][: next(at for at, letter in enumerate(numbered[-1]) if letter.isdecimal())]
    alike = [name.removeprefix(prefix) for name in numbered if name.startswith(prefix)]
    most = max(int(name.split(".")[0]) for name in alike if name[:1].isdecimal())
    last = f"{prefix}{most}."
    names = {"drop last": None, "double last": most + 1, "gap": most + 5, "leading zero": f"0{most}"}
    new = None if names[how] is None else f"{prefix}{names[how]}."
    inside = {name: tensor for name, tensor in tensors.items() if name.startswith(last)}
    kept = tensors if how == "double last" else {name: t for name, t in tensors.items() if name not in inside}
    return kept if new is None else kept | {new + name[len(last) :]: tensor for name, tensor in inside.items()}


def run(values: Mapping[str, Any], folder: Path) -> str:
    """Build, inspect or convert."""
    reference, theirs = bases.reference_models()[values["model"]]
    tensors: TensorDict = dict(theirs.state_dict())
    for kind, name, detail in values["changes"]:
        tensors = change(tensors, kind, name, detail)
    if values["how"] != "build":
        return by_command(values, tensors, folder)
    with warnings.catch_warnings(action="ignore"):
        ours = bases.convert(reference, tensors, torch.float64)
    return judge(reference, ours, tensors)


def by_command(values: Mapping[str, Any], tensors: TensorDict, folder: Path) -> str:
    """Through a file and the command line."""
    path = folder / f"in{values['suffix']}"
    try:
        write_tensors(path, tensors)
    except (KeyError, RuntimeError, UnicodeEncodeError):  # what the format has no word for
        return "unwritten"
    rest = [str(folder / "out.safetensors")] if values["how"] == "convert" else []
    code, _ = command(main, values["how"], str(path), *rest)
    if values["how"] == "convert" and code and (folder / "out.safetensors").exists():
        raise Wrong("a refused file is written all the same")
    return f"{values['how']}ed" if code == 0 else "refused"


def judge(reference: Reference, ours: nn.Module, tensors: TensorDict) -> str:
    """The same answers as the library's model with these tensors."""
    about: Any = ours.about
    generator = torch.Generator().manual_seed(0)
    inputs = reference.inputs(about["arguments"], generator, 1)
    inputs = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
    with torch.no_grad():
        answers = reference.run(ours, **inputs)
        theirs = library(reference, tensors)
        if theirs is None:
            return "another architecture"
        assert_same_answers(answers, reference.run_reference(theirs, **inputs), "accepted")
    return "built"


def library(reference: Reference, tensors: TensorDict) -> nn.Module | None:
    """The library's model, or None where these tensors are of another size than it was built with.

    Raises:
        Wrong: it lacks tensors, or does not know some, that our table did not drop either.
    """
    theirs = reference.build(**reference.tiny).double().eval()
    known = theirs.state_dict().keys()
    if not tensors.keys() & known:
        tensors = without_prefix(tensors, set(known))
    table = SYSTEMS[reference.system].formats[reference.format].table
    try:
        report: Any = theirs.load_state_dict(tensors, strict=False)
    except (RuntimeError, NotImplementedError, TypeError):
        return None
    dropped = table.convert({name: torch.zeros(1) for name in [*report.missing_keys, *report.unexpected_keys]}).dropped
    missing = [name for name in report.missing_keys if name not in dropped]
    unknown = [name for name in report.unexpected_keys if name not in dropped]
    numbered = [name for name in missing + unknown if any(part.isdecimal() for part in name.split("."))]
    if numbered or (missing and all(any(part in name for part in OTHERS) for name in missing)):
        return None
    if missing:
        raise Wrong(f"accepted without a tensor that the library needs: {missing[:3]}")
    if unknown and not all(name.endswith("num_batches_tracked") for name in unknown):
        raise Wrong(f"accepted beside a tensor that nobody knows: {unknown[:3]}")
    return theirs


def without_prefix(tensors: TensorDict, known: set[str]) -> TensorDict:
    """A prefix that all names share taken off."""
    first = next(iter(tensors), "")
    cut = next((first[: -len(name)] for name in known if first.endswith(name)), "")
    return {name.removeprefix(cut): tensor for name, tensor in tensors.items()}


def prepare() -> None:
    """Each model with all its tensors as they are, which must be right; what is imported late is here then."""
    for title in bases.reference_models():
        assert run({"model": title, "changes": [], "how": "build"}, Path()) == "built", title


TARGETS = [Target("tensors", make, run, prepare, share=3.0, seconds=10)]
