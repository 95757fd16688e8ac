"""Damaged files of every format, read, inspected and converted.

What is read must be what the file holds: what torch or safetensors read of the same damaged file or, where they refuse
it, what the undamaged file held.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from checkpoints_convert.__main__ import main
from checkpoints_convert.reading.files import Checkpoint, read_tensors
from minimodels.stored import models
from tests.fuzz import bases
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.command import command
from tests.fuzz.odd import damaged
from tests.fuzz.same import assert_same_answers, assert_same_tensors

FORMATS = ("safetensors", "zip", "flat", "legacy", "script", "shards", "own")
Parts = dict[str, dict[str, Tensor]]


def make(format_name: str, rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """One file of a format damaged."""
    files = dict(bases.files()[format_name])
    others = [data for found in bases.files().values() for data in found.values()]
    victim = rng.choice(list(files))
    files[victim] = damaged(rng, files[victim], others)
    return {"format": format_name, "command": rng.random() < 0.15}, files


def run(values: Mapping[str, Any], folder: Path) -> str:
    """Read it, compare, and let the command line show it."""
    name = next(iter(bases.files()[values["format"]]))
    path = folder if values["format"] == "shards" else folder / name
    if values["command"]:
        code, _ = command(main, "inspect", str(path), "--all")
        return "inspected" if code == 0 else "refused"
    checkpoint = read_tensors(path)
    judge(checkpoint, values["format"], folder / name)
    if values["format"] == "own":
        open_own(checkpoint)
    return "read"


def judge(checkpoint: Checkpoint, format_name: str, path: Path) -> None:
    """Are these the tensors of the file? What the undamaged one held is right, whatever the library makes of it."""
    with suppress(Wrong):
        return assert_same_tensors(checkpoint.tensors, truth(format_name), "not as before")
    theirs = None if format_name in ("script", "shards") else read_by_library(path)
    if theirs is not None:
        ours = {name: dict(part) for name, part in checkpoint.parts.items()}
        for name in ours.keys() | theirs.keys():
            assert_same_tensors(ours.get(name, {}), theirs.get(name, {}), "another reading than the library's")
        return
    try:
        assert_same_tensors(checkpoint.tensors, truth(format_name), "read where the library refuses")
    except Wrong as error:
        if format_name != "shards" or not consistent(checkpoint, path.parent):
            raise Wrong(str(error)) from None


def truth(format_name: str) -> dict[str, Tensor]:
    """What the undamaged file holds."""
    if format_name == "script":
        return bases.redraw_all(bases.Script()).state_dict()
    if format_name == "own":
        return bases.redraw_all(bases.ViT(**bases.VIT)).state_dict()
    return bases.mixed()


def read_by_library(path: Path) -> Parts | None:
    """The dictionaries of tensors as torch or safetensors read them; None where they refuse."""
    with path.open("rb") as file:
        head = file.read(9)
    try:
        if head[8:9] == b"{" and not head.startswith(b"PK\x03\x04"):
            return {"": load_file(path)}
        value = torch.load(path, weights_only=True, map_location="cpu")
    except (SafetensorError, OSError, MemoryError):
        return None
    except Exception:  # torch fails on damaged files in every way there is
        return None
    if not isinstance(value, dict):
        return None
    whole = {"": value, **{name: inner for name, inner in value.items() if isinstance(inner, dict)}}
    parts = {
        name: {key: item for key, item in part.items() if isinstance(item, Tensor)} for name, part in whole.items()
    }
    return {name: part for name, part in parts.items() if part}


def consistent(checkpoint: Checkpoint, folder: Path) -> bool:
    """Whether shards hold what was read: an index that lists other shards is another checkpoint, not a wrong one."""
    held: dict[str, Tensor] = {}
    for shard in folder.glob("*.safetensors"):
        try:
            held |= load_file(shard)
        except (SafetensorError, OSError):
            continue
    try:
        assert_same_tensors(checkpoint.tensors, {name: held[name] for name in checkpoint if name in held}, "shards")
    except Wrong:
        return False
    return True


def open_own(checkpoint: Checkpoint) -> None:
    """One of our files makes a model that answers as its tensors say."""
    model: Any = models.open_file(checkpoint.path, dtype=torch.float64)
    arguments = model.about["arguments"]
    reference = bases.ViT(**{key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}).double()
    reference.load_state_dict({name: tensor.double() for name, tensor in checkpoint.items()})
    image = torch.linspace(-1, 1, 3 * arguments["image_size"][0] * arguments["image_size"][1], dtype=torch.float64)
    image = image.reshape(1, 3, *arguments["image_size"])
    with torch.no_grad():
        assert_same_answers({"logits": model(image)}, {"logits": reference.eval()(image)}, "one of our own files")


# Official files made into ours.


def make_official(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A small timm ViT in any format, damaged."""
    name = rng.choice(list(official()))
    data = official()[name]
    return {"name": name}, {name: damaged(rng, data, list(official().values()))}


def official() -> dict[str, bytes]:
    """A small timm ViT in three formats."""
    return bases.vit_files()


def run_official(values: Mapping[str, Any], folder: Path) -> str:
    """Convert it; the new file holds the numbers that the library reads, or there is none."""
    target = folder / "out.safetensors"
    told = ["--tell", "num_heads=2", "--tell", "image_size=[8,8]"]
    code, _ = command(main, "convert", str(folder / values["name"]), str(target), *told)
    if code != 0:
        if target.exists():
            raise Wrong("a refused file is written all the same: out.safetensors")
        return "refused"
    found, whole = load_file(target), bases.vit_from(bases.vit_tensors()).state_dict()
    if found.keys() == whole.keys() and all(torch.equal(found[name], tensor) for name, tensor in whole.items()):
        return "undamaged numbers"  # whatever the library makes of the file
    parts = read_by_library(folder / values["name"])
    tensors = bases.vit_tensors() if parts is None else max(parts.values(), key=len)
    wanted = bases.vit_from(tensors).state_dict()
    assert_same_tensors(found, wanted, "a damaged file converted")
    return "converted"


def prepare() -> None:
    """Make the files."""
    bases.files()
    bases.vit_files()


TARGETS = [
    *(Target(f"damage-{name}", partial(make, name), run, prepare, share=0.6) for name in FORMATS),
    Target("damage-convert", make_official, run_official, prepare),
]
