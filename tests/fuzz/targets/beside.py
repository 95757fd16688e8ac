"""Files that lie beside others: the search index of a folder, vocabularies, tokenizer configs."""

import json
import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from checkpoints_convert.load import load
from minimodels.__main__ import main
from tests.fuzz import bases
from tests.fuzz.cases import Target, Wrong
from tests.fuzz.command import command
from tests.fuzz.odd import damaged, odd_config, odd_text, odd_value
from tests.fuzz.targets import own_files

INDEX = ".pixels-and-prompts.own.safetensors"
SEARCH = ("search", "photos", "a dog", "a cat", "--model", "own.safetensors", "--json", "--top", "3")


@cache
def collection() -> dict[str, bytes]:
    """A folder of pictures with its index, and the model that made it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_collection(folder)
        own_files.inside(folder, lambda: command(main, *SEARCH))
        return {f"photos/{INDEX}": (folder / "photos" / INDEX).read_bytes()}


def write_collection(folder: Path) -> None:
    """Four pictures whose dates are always the same, and the model."""
    (folder / "photos").mkdir(exist_ok=True)
    for number in range(4):
        path = folder / "photos" / f"{number}.png"
        Image.linear_gradient("L").rotate(40 * number).resize((16, 16)).convert("RGB").save(path)
        os.utime(path, ns=(10**18, 10**18))
    about = own_files.own()["CLIP"][0]
    own_files.write(folder / "own.safetensors", {"about": about, "base": "CLIP", "raw": None})


def make_index(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The index damaged, or with another content."""
    data = collection()[f"photos/{INDEX}"]
    if rng.random() < 0.5:
        return {}, {f"photos/{INDEX}": damaged(rng, data)}
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = header.get("__metadata__", {})
    parsed = {key: json.loads(value) if value.startswith("[") else value for key, value in about.items()}
    changed, _ = odd_config(rng, parsed)
    if isinstance(changed, dict):
        header["__metadata__"] = {
            str(key): value if isinstance(value, str) else json.dumps(value) for key, value in changed.items()
        }
    else:
        header = odd_value(rng, header)
    encoded = json.dumps(header).encode()
    return {}, {f"photos/{INDEX}": len(encoded).to_bytes(8, "little") + encoded + data[8 + length :]}


def run_index(values: Mapping[str, Any], folder: Path) -> str:
    """Search: the same hits as without an index."""
    write_collection(folder)
    code, out = command(main, *SEARCH)
    if code:
        return "refused"
    if hits(out) != hits(right_answer()):
        raise Wrong("an index changes the hits")
    return "searched"


def hits(out: str) -> Any:
    """What was found, scores to six digits."""
    return json.loads(out, parse_float=lambda number: round(float(number), 6))


@cache
def right_answer() -> str:
    """Without any index."""
    with TemporaryDirectory() as name:
        write_collection(Path(name))
        return own_files.inside(Path(name), lambda: command(main, *SEARCH))[1]


# Vocabularies


PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "a",
    "dog",
    "##s",
    "##g",
    "do",
    "Ã©",
    "e",
    "é",
    "1",
    "##1",
    "猫",
    ",",
    ".",
]
TEXTS = ["the dogs, a dog.", "", "Dog 1 11", "é è 猫猫", "xyz", "a" * 300, "[CLS] a [SEP]", "\u200ba\u0301 \x00"]


@cache
def bert() -> Path:
    """A small BERT with its vocabulary."""
    folder = bases.kept_folder()
    bases.reference_models()["BERT beside transformers"][1].save_pretrained(folder)
    return folder


def odd_pieces(rng: Random) -> list[str]:
    """Pieces missing, twice, odd, in another order, too many."""
    pieces = list(PIECES)
    for _ in range(rng.choice((0, 1, 2))):
        at = rng.randrange(len(pieces))
        kind = rng.randrange(5)
        if kind == 0:
            pieces.pop(at)
        elif kind == 1:
            pieces.insert(at, odd_text(rng).encode("utf-8", "replace").decode())
        elif kind == 2:
            pieces.insert(at, rng.choice(pieces))
        elif kind == 3:
            rng.shuffle(pieces)
        else:
            pieces += [f"w{number}" for number in range(rng.choice((20, 5000)))]
    return pieces


def make_words(rng: Random) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A vocabulary and a tokenizer config, one of them odd."""
    config = {
        "do_lower_case": True,
        **rng.choice(({}, {"strip_accents": True}, {"strip_accents": False})),
        "tokenize_chinese_chars": True,
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "model_max_length": 14,
        "tokenizer_class": "BertTokenizer",
        "pad_token": "[PAD]",
    }
    pieces = odd_pieces(rng)
    odd: Any = odd_config(rng, config)[0] if rng.random() < 0.5 else config
    files = {"tokenizer_config.json": json.dumps(odd).encode()} if rng.random() < 0.9 else {}
    if rng.random() < 0.5:
        model: Any = {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "vocab": {piece: at for at, piece in enumerate(pieces)},
        }
        whole: Any = {"version": "1.0", "model": model}
        whole = odd_config(rng, whole)[0] if rng.random() < 0.5 else whole
        files["tokenizer.json"] = json.dumps(whole).encode()
    else:
        files["vocab.txt"] = rng.choice(("\n", "\n", "\n", "\r\n", " \n")).join(pieces).encode()
        if rng.random() < 0.3:
            files["vocab.txt"] = damaged(rng, files["vocab.txt"])
    return {}, {f"model/{name}": data for name, data in files.items()}


def run_words(values: Mapping[str, Any], folder: Path) -> str:
    """Load it and read texts; the same ids as transformers with the same vocab.txt."""
    for file in bert().iterdir():
        shutil.copy(file, folder / "model" / file.name)
    ours: Any = load(folder / "model")
    ids = torch.stack([ours.tokenize(text, ours.tokenize.context_length, truncate=True)[0][0] for text in TEXTS])
    if not (int(ids.min()) >= 0 and int(ids.max()) < 50):
        raise Wrong(f"ids that the model has no row for: {int(ids.max())}")
    theirs = by_transformers(folder / "model", ids.shape[1])
    if theirs is None:
        return "alone"
    if not torch.equal(ids, theirs):
        raise Wrong("other ids than transformers'")
    return "read"


def by_transformers(folder: Path, length: int) -> torch.Tensor | None:
    """The ids as transformers reads a vocab.txt; None where there is none, or it fails.

    Without a config ours judges by the pieces whether the case counts, and transformers always lowers it.
    """
    from transformers import BertTokenizer

    config = folder / "tokenizer_config.json"
    if not (folder / "vocab.txt").exists() or not config.exists() or b"null" in config.read_bytes():
        return None
    try:
        tokenizer = BertTokenizer.from_pretrained(folder)
        return torch.tensor(tokenizer(TEXTS, padding="max_length", truncation=True, max_length=length)["input_ids"])
    except Exception:  # their refusal has many names
        return None


def prepare() -> None:
    right_answer(), collection(), bert()


TARGETS = [
    Target("index", make_index, run_index, prepare, share=0.8),
    Target("words", make_words, run_words, prepare, share=0.8),
]
