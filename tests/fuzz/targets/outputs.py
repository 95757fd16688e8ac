"""Where results are written: names that no file can have, folders, pipes, links; and writers that are ended at once."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from checkpoints_convert.__main__ import main as converter
from checkpoints_convert.reading.files import read_tensors
from minimodels.__main__ import main as minimodels
from minimodels.errors import UserError
from minimodels.stored import models
from tests.fuzz import bases
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.command import command
from tests.fuzz.odd import odd_text
from tests.fuzz.same import same_bits
from tests.fuzz.targets import options

PLACES = (
    "taken",
    "pipe",
    "link",
    "dangling",
    "loop",
    "file/inside",
    "missing/inside",
    "",
    ".",
    "..",
    "/",
    "a.png/",
    "taken/x",
)
ENDINGS = ("", ".safetensors", ".png", ".pth", ".PT", ".png.safetensors", ".jpg")
LINES: dict[str, list[str]] = {
    "convert": ["convert", "vit.safetensors", "?", "--tell", "num_heads=2", "--tell", "image_size=[8,8]"],
    "export": ["export", "own.safetensors", "transformers", "?"],
    "segment": ["segment", "a.png", "a dog", "-o", "?"],
    "masks": ["segment", "a.png", "a dog", "--masks", "?"],
    "search": ["search", ".", "a dog", "--model", "own.safetensors", "-o", "?"],
    "read": ["inspect", "?"],
    "asked": ["zero-shot", "?", "a dog", "a cat", "--model", "own.safetensors"],
    "model": ["zero-shot", "a.png", "a dog", "a cat", "--model", "?"],
    "collection": ["search", "?", "a dog", "--model", "own.safetensors"],
}


def make(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A command, and a name for its result."""
    name = rng.choice(
        (rng.choice(PLACES), odd_text(rng), "x" * rng.choice((250, 300, 5000)), "new/" * rng.choice((1, 50, 900)))
    )
    return {"line": rng.choice(list(LINES)), "name": name + rng.choice(ENDINGS)}, {"file": b"x"}


def run(values: Mapping[str, Any], folder: Path) -> str:
    """Write there, or say why not; what was there before stays whole."""
    options.write_inputs(folder)
    (folder / "taken").mkdir()
    os.mkfifo(folder / f"pipe{next((end for end in ENDINGS[::-1] if values['name'] == f'pipe{end}'), '')}")
    (folder / "link").symlink_to("file")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    words = [values["name"] if word == "?" else word for word in LINES[values["line"]]]
    if words[-1:] and values["name"].startswith("/"):
        return "outside"
    main = converter if words[0] in ("convert", "export", "inspect") else minimodels
    code, _ = command(main, *words)
    if (folder / "file").read_bytes() != b"x" and code:
        raise Wrong("a refused command has changed a file")
    return {0: "done", 2: "refused"}[code]


def make_killed(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A writer that is ended after so many seconds, in one of two ways."""
    return {"after": rng.random() * 0.02, "signal": rng.choice(("SIGKILL", "SIGTERM", "SIGHUP")), "times": 3}, {}


def run_killed(values: Mapping[str, Any], folder: Path) -> str:
    """What lies in the folder afterwards is a whole file or none, and the next writer is not disturbed."""
    model = bases.redraw_all(bases.ViT(**bases.VIT))
    about = {"system": "vit", "class": "ViT", "arguments": bases.VIT}
    place = folder / "model"
    place.mkdir()
    path = place / "ok.safetensors"
    for _ in range(values["times"]):
        end_a_writer(path, model, about, values)
    if path.exists() and not whole(path, model):
        raise Wrong("half a file stays")
    try:
        read_tensors(place)
    except UserError as error:
        if path.exists():
            raise Wrong(f"what a writer left makes the folder unreadable: {error}") from None
    models.save(path, model, about)
    if not whole(place, model):
        raise Wrong("a file that was written again is not whole")
    left = [file.name for file in place.iterdir() if file.name != "ok.safetensors"]
    for file in left:
        (place / file).unlink()
    if len(left) > 0:
        raise Wrong(f"temporary files stay: {len(left)}, {left[0]}")
    return "whole"


def end_a_writer(path: Path, model: Any, about: dict[str, Any], values: Mapping[str, Any]) -> None:
    """A process that writes again and again, ended in the middle."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for number in (signal.SIGTERM, signal.SIGHUP):  # whoever started this run may ignore them
                signal.signal(number, signal.SIG_DFL)
            os.write(told, b"x")
            while True:
                models.save(path, model, about)
        finally:
            os._exit(0)
    os.read(ready, 1)
    for end in (ready, told):
        os.close(end)
    time.sleep(0.005 + values["after"])
    os.kill(pid, getattr(signal, values["signal"]))
    os.waitpid(pid, 0)


def whole(path: Path, model: Any) -> bool:
    """Whether a file holds all of a model."""
    state = model.state_dict()
    tensors = read_tensors(path).tensors
    return tensors.keys() == state.keys() and all(same_bits(tensors[name], state[name]) for name in state)


TARGETS = [
    Target("outputs", make, run, options.prepare, seconds=30, megabytes=600),
    Target("killed", make_killed, run_killed, bases.files, share=0.3),
]
