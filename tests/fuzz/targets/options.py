"""What somebody types: `--tell` and every option of the command lines, at usual values and odd ones, in any order."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from checkpoints_convert.__main__ import main as converter
from checkpoints_convert.load import load
from checkpoints_convert.tables import SYSTEMS
from lessons.__main__ import main as lessons
from minimodels.__main__ import main as minimodels
from tests.fuzz import bases
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.command import command
from tests.fuzz.odd import odd_text, odd_value
from tests.fuzz.targets import own_files

MAINS = {"minimodels": minimodels, "checkpoints_convert": converter}
NUMBERS = (
    "0",
    "1",
    "-1",
    "2",
    "3",
    "0.5",
    "1e9",
    "nan",
    "inf",
    "-inf",
    "1e-400",
    "99999999999999999999",
    "٣",
    "1_0",
    "",
)
# A command line that works, by words; each option with values that it takes.
LINES: dict[str, tuple[str, list[str], dict[str, tuple[str, ...]]]] = {
    "zero-shot": (
        "minimodels",
        ["zero-shot", "a.png", "a dog", "a cat", "--model", "own.safetensors"],
        {
            "--top": ("1", "2"),
            "--json": (),
            "--template": ("{}", "{a} x", "{x}"),
            "--labels": ("a", "b"),
            "--device": ("cpu",),
            "--dtype": ("float32", "bfloat16", "float64"),
        },
    ),
    "compare": (
        "minimodels",
        ["compare", "a.png", "a dog", "a cat", "--models", "own.safetensors,tiny-clip"],
        {
            "--models": ("tiny-clip,tiny-clips", "own.safetensors,tiny-clips", "tiny-clip", "tiny-vit,tiny-clip"),
            "--json": (),
            "--device": ("cpu",),
            "--dtype": ("bfloat16", "float64"),
        },
    ),
    "search": (
        "minimodels",
        ["search", ".", "a dog", "--model", "own.safetensors"],
        {
            "--top": ("1", "2"),
            "--json": (),
            "--like": ("a.png",),
            "-o": ("hits.png",),
            "--device": ("cpu",),
            "--dtype": ("float64",),
        },
    ),
    "segment": (
        "minimodels",
        ["segment", "a.png", "a dog"],
        {
            "--threshold": ("0.5", "0.1"),
            "--compete": (),
            "--masks": ("masks",),
            "--probabilities": (),
            "--mix": ("0.5",),
            "--prompt-image": ("b.png",),
            "--prompt-mask": ("mask.png",),
            "-o": ("out.png",),
            "--device": ("cpu",),
            "--model": ("tiny-clipseg", "tiny-lavt", "tiny-sam"),
            "--dtype": ("bfloat16", "float64"),
        },
    ),
    "click": (
        "minimodels",
        ["segment", "a.png", "--model", "tiny-sam", "--point", "3,4"],
        {
            "--point": ("1,2", "63,63", "1.5,2"),
            "--not": ("5,5",),
            "--box": ("1,2,30,40",),
            "--masks": ("masks",),
            "-o": ("o.png",),
            "--dtype": ("float64",),
            "--device": ("cpu",),
        },
    ),
    "match": (
        "minimodels",
        ["match", "a.png", "mask.png", "b.png"],
        {
            "--both-ways": (),
            "--setting": ("semantic", "stickers", "whole"),
            "--least": ("0.5",),
            "--size": ("64", "32"),
            "--seed": ("0", "7"),
            "--masks": ("masks",),
            "-o": ("m.png",),
            "--dtype": ("float32", "float64"),
        },
    ),
    "which": (
        "minimodels",
        ["which", "a.png", "a dog", "--box", "1,2,30,40", "--model", "own.safetensors"],
        {
            "--box": ("0,0,64,64", "63,63,64,64", "5.5,1,9,2", "9,9,1,1", "0,0,65,1"),
            "--by": ("falip", "crop", "circle"),
            "--alpha": ("0", "-3", "6", "1000", "1001"),
            "--first-block": ("0", "1", "8"),
            "--template": ("{}", "{a} x", "{x}"),
            "--sam": ("tiny-sam",),
            "--top": ("1", "2"),
            "--json": (),
            "-o": ("w.png",),
            "--device": ("cpu",),
            "--dtype": ("float32", "bfloat16", "float64"),
        },
    ),
    "inspect": (
        "checkpoints_convert",
        ["inspect", "vit.safetensors"],
        {"--all": (), "--json": (), "--part": ("state_dict",), "--tell": ("num_heads=2", "image_size=[8,8]")},
    ),
    "convert": (
        "checkpoints_convert",
        ["convert", "vit.safetensors", "out.safetensors", "--tell", "num_heads=2"],
        {"--dtype": ("keep", "float16"), "--tell": ("norm_eps=1e-6", "image_size=[8,8]")},
    ),
    "export": (
        "checkpoints_convert",
        ["export", "own.safetensors", "transformers", "out.safetensors"],
        {"--dtype": ("keep", "bfloat16"), "--tell": ("quick_gelu=false",)},
    ),
    "list": ("checkpoints_convert", ["list", "clip"], {"--json": ()}),
    "fetch": ("checkpoints_convert", ["fetch", "no/such"], {"--quiet": ()}),
    "verify": (
        "checkpoints_convert",
        ["verify", "no-such"],
        {"--size": ("tiny",), "--device": ("cpu",), "--seed": ("0",), "--json": ()},
    ),
}


def make(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A command line with options added, changed, doubled, lost."""
    light = ("zero-shot", "search", "which", "inspect", "convert", "export", "list", "fetch", "verify")
    line = rng.choice((*light, *LINES))
    words, options = list(LINES[line][1]), LINES[line][2]
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.randrange(10)
        if kind < 6:
            flag = rng.choice(list(options))
            usual = options[flag]
            given = rng.choice(
                (rng.choice(usual) if usual else "", odd_text(rng), rng.choice(NUMBERS), "--", "-1,2", "cpu:")
            )
            at = rng.choice((len(words), len(words), 1))
            words[at:at] = (
                [flag]
                if not usual and rng.random() < 0.8
                else [flag, given]
                if rng.random() < 0.8
                else [f"{flag}={given}"]
            )
        elif kind == 6 and words:
            words.pop(rng.randrange(len(words)))
        elif kind == 7 and words:
            words[rng.randrange(len(words))] = odd_text(rng)
        elif kind < 9:
            words.insert(rng.randrange(len(words) + 1), odd_text(rng))
        else:
            device = rng.choice(
                ("cpu:0", "cpu:", "cpu:99", "cpu:" + "9" * 30, "cuda", "mps", "meta", "CPU", "cpu:-1", "cpu:٣")
            )
            words += ["--device", device]
    return {"line": line, "words": words}, {}


def write_inputs(folder: Path) -> None:
    """Pictures, a mask, a model of ours and an official one."""
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(folder / "a.png")
    Image.radial_gradient("L").resize((48, 40)).convert("RGB").save(folder / "b.png")
    Image.radial_gradient("L").resize((64, 64)).point(lambda level: 255 * (level < 100)).save(folder / "mask.png")
    about = own_files.own()["CLIP"][0]
    own_files.write(folder / "own.safetensors", {"about": about, "base": "CLIP", "raw": None})
    save_file(bases.vit_tensors(), folder / "vit.safetensors")


def run(values: Mapping[str, Any], folder: Path) -> str:
    """Type it."""
    write_inputs(folder)
    code, _ = command(MAINS[LINES[values["line"]][0]], *values["words"])
    return {0: "done", 1: "differs", 2: "refused"}[code]


# What is told


def make_tell(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A key that some system can be told, with a value of any kind."""
    title = rng.choice(list(bases.reference_models()))
    reference = bases.reference_models()[title][0]
    told = json.loads(json.dumps(reference.told(reference.tiny)))
    key = rng.choice((*SYSTEMS[reference.system].told, *told)) if rng.random() < 0.95 else odd_text(rng)
    usual = told.get(key, rng.choice((True, 2, 0.5, [1, 2], "x")))
    value = odd_value(rng, usual)
    text = rng.choice((json.dumps(value), str(value), "False", "no", "off", "true", json.dumps(usual), ""))
    return {"model": title, "key": key, "text": text}, {}


def run_tell(values: Mapping[str, Any], folder: Path) -> str:
    """Convert with it: what is accepted stands in the new file as it was told."""
    reference, theirs = bases.reference_models()[values["model"]]
    save_file({name: t.contiguous().clone() for name, t in theirs.state_dict().items()}, folder / "in.safetensors")
    told = [f"{key}={json.dumps(value)}" for key, value in reference.told(reference.tiny).items()]
    told.append(f"{values['key']}={values['text']}")
    words = [word for pair in told for word in ("--tell", pair)]
    code, _ = command(converter, "convert", "in.safetensors", "out.safetensors", *words)
    if code:
        if (folder / "out.safetensors").exists():
            raise Wrong("a refused file is written all the same")
        return "refused"
    ours: Any = load(folder / "out.safetensors")
    taken(values["key"], values["text"], ours.about["arguments"])
    if values["key"] == "backbone":  # another kind of answer, which the reference does not ask for
        return "backbone"
    inputs = reference.inputs(ours.about["arguments"], torch.Generator().manual_seed(0), 1)
    with torch.no_grad():
        reference.run(ours, **inputs)
    return "converted"


def taken(key: str, text: str, arguments: Mapping[str, Any]) -> None:
    """The argument of that name is what was told, of the type that it has.

    Raises:
        Wrong: it is not.
    """
    if key not in arguments:
        return
    try:
        told = json.loads(text)
    except ValueError:
        told = text
    held = arguments[key]
    held = list(held) if isinstance(held, tuple) else held
    if isinstance(held, list) and isinstance(told, int):
        told = [told] * len(held)
    if held != told or isinstance(held, bool) != isinstance(told, bool) or isinstance(held, str):
        raise Wrong(f"told one thing and took another: {key}={text[:60]!r} became {str(held)[:60]!r}")


# The reader's own records


def make_records(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """my/progress.json of any content."""
    record = {"tries": 1, "passed": "2026-01-01", "hints": 2, "solution": False}
    usual = {"exercises": {"2.1.1": record, "1.1.1": record}, "lessons": {"2.1": "2026-01-01"}}
    value: Any = usual
    for _ in range(rng.choice((1, 2, 3))):
        key = rng.choice(("exercises", "lessons", "deep", "all", "exercise"))
        if key in ("exercises", "lessons"):
            value = {**value, key: odd_value(rng, value.get(key))} if isinstance(value, dict) else value
        elif key == "deep":
            value = {
                "exercises": {"2.1.1": {**record, rng.choice(list(record)): odd_value(rng)}},
                "lessons": {"2.1": odd_value(rng)},
            }
        elif key == "exercise":
            value = {"exercises": {odd_text(rng): record}, "lessons": {odd_text(rng): "x"}}
        else:
            value = odd_value(rng, usual)
    words = rng.choice(
        ([], ["hint", "2.1.1"], ["start", "2.1.1"], ["solution", "2.1.1"], [odd_text(rng)], ["start", odd_text(rng)])
    )
    data = json.dumps(value).encode() if rng.random() < 0.8 else rng.randbytes(20)
    return {"words": words}, {"my/progress.json": data}


def run_records(values: Mapping[str, Any], folder: Path) -> str:
    """Ask how far one is."""
    os.environ["LESSONS_FOLDER"] = str(folder / "my")
    code, _ = command(lessons, *values["words"])
    return {0: "done", 1: "not yet", 2: "refused"}[code]


def prepare() -> None:
    """Everything that is imported late."""
    own_files.own()
    bases.reference_models()
    bases.vit_tensors()


TARGETS = [
    Target("options", make, run, prepare, share=2.0, seconds=30, megabytes=600),
    Target("tell", make_tell, run_tell, prepare, share=1.0, seconds=10),
    Target("records", make_records, run_records, share=0.3),
]
