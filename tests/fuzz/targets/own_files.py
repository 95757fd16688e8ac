"""What our own model files say about themselves, changed: they come from anywhere too."""

import io
import json
import os
import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image

from checkpoints_convert.__main__ import main as converter
from minimodels.__main__ import main
from minimodels.stored import embedded, models
from minimodels.words.byte_pair import BytePairTokenizer, learn_merges
from tests.fuzz import bases
from tests.fuzz.cases import Target
from tests.fuzz.command import command
from tests.fuzz.odd import TEXTS, odd_config, odd_text, odd_value

CAPTIONS = ["a small red car left of a dog on grass", "a big owl at night", "a cat and a rocket on wood"]


@cache
def own() -> dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """Small files of our own, and the embedded ones: what they say, parsed, and their tensors."""
    from minimodels.clip import CLIP
    from minimodels.pixels.preprocess import CLIPPreprocess, preprocess_to_dict

    merges = learn_merges(CAPTIONS, 40)
    arguments: dict[str, Any] = {
        "embed_dim": 8,
        "image_size": 16,
        "patch_size": 8,
        "context_length": 24,
        "quick_gelu": False,
        "vision_width": 16,
        "vision_depth": 1,
        "vision_heads": 2,
        "text_width": 16,
        "text_depth": 1,
        "text_heads": 2,
        "vocab_size": BytePairTokenizer(merges).vocab_size,
    }
    about = {
        "system": "clip",
        "class": "CLIP",
        "arguments": arguments,
        "preprocess": preprocess_to_dict(CLIPPreprocess(16)),
        "tokenizer": {"kind": "bpe", "merges": merges, "context_length": 24},
        "trained_on": "Sticker World",
    }
    found = {"CLIP": (json.loads(json.dumps(about)), bases.redraw_all(CLIP(**arguments)).state_dict())}
    for name in embedded.names():
        model: Any = models.load(name)
        about = {key: value for key, value in model.about.items() if key not in ("trained_on",)}
        found[name] = (json.loads(json.dumps(about)), model.state_dict())
    return found


def make(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A file whose metadata is odd."""
    base = rng.choice(("CLIP", "CLIP", "CLIP", *own()))
    about: Any = own()[base][0]
    light = {key: value for key, value in about.items() if key != "tokenizer"} if rng.random() < 0.5 else about
    changed, told = odd_config(rng, light)
    if isinstance(changed, dict):
        changed = {**about, **changed} if rng.random() < 0.3 else changed
        if rng.random() < 0.1:
            changed[odd_text(rng)] = odd_value(rng)
    raw = rng.choice(TEXTS) if rng.random() < 0.05 else None
    how = rng.choice(("open", "open", "zero-shot", "inspect", "export", "segment"))
    return {"base": base, "about": changed, "changed": told, "raw": raw, "how": how}, {}


def run(values: Mapping[str, Any], folder: Path) -> str:
    """Open it, look into it, ask it."""
    path = folder / "own.safetensors"
    if not write(path, values):
        return "unwritten"
    how = values["how"]
    if how == "open":
        models.open_file(path)
        return "opened"
    Image.linear_gradient("L").resize((32, 32)).save(folder / "a.png")
    if how == "inspect":
        code, _ = command(converter, "inspect", str(path))
    elif how == "export":
        code, _ = command(converter, "export", str(path), "transformers", str(folder / "out.safetensors"))
    else:
        words = ["a dog", "a cat"] if how == "zero-shot" else ["a dog", "-o", "out.png"]
        code, _ = command(main, how, "a.png", *words, "--model", str(path))
    return f"{how} done" if code == 0 else "refused"


def write(path: Path, values: Mapping[str, Any]) -> bool:
    """The file, where a header can hold it: metadata is text by name."""
    about, tensors = values["about"], own()[values["base"]][1]
    if not isinstance(about, dict):
        return False
    text = {
        key: value if key not in models.JSON_KEYS and isinstance(value, str) else json.dumps(value)
        for key, value in about.items()
    }
    if values["raw"] is not None:
        text["arguments"] = values["raw"]
    borrowed = own()[values["base"]][0].get("borrowed", {})
    state = {name: t for name, t in tensors.items() if not name.startswith(tuple(borrowed))} if borrowed else tensors
    header: dict[str, Any] = {"__metadata__": text}
    data = io.BytesIO()
    for name, tensor in state.items():
        start = data.tell()
        data.write(
            tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            if tensor.ndim
            else tensor.numpy().tobytes()
        )
        offsets = [start, data.tell()]
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data.getvalue())
    return True


def inside(folder: Path, act: Callable[[], Any]) -> Any:
    """Do something with this as the current folder."""
    home = Path.cwd()
    os.chdir(folder)
    try:
        return act()
    finally:
        os.chdir(home)


NAMES = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64", torch.float64: "F64"}


def prepare() -> None:
    own()


TARGETS = [Target("own-files", make, run, prepare, share=2.0, seconds=10)]
