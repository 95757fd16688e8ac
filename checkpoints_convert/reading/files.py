"""Any official checkpoint file -> {name: tensor}, safely and without copying.

    checkpoint = read_tensors("ViT-B-32.pt")
    checkpoint.tensors["visual.proj"]        # a view of the file: read from disk when it is used
    checkpoint.extras, checkpoint.kind       # what else the file holds ("args", "epoch", a config); "torchscript"

Files: .safetensors (one, a folder, or shards with their index), torch.save's zip archives and older files, TorchScript
archives. What a file is, its first bytes say; its name does not matter. Files come from the internet: no code in them
runs (see `pickles.py`), every size they claim is checked, and each kind of wrong file gets one sentence that says
what it is.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from checkpoints_convert.reading.archives import EXPECTED, read_legacy, read_zip
from checkpoints_convert.reading.budget import LONGEST_NAME
from checkpoints_convert.reading.calls import LARGEST, check_shape
from checkpoints_convert.reading.values import Damaged, Refused
from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.errors.untrusted import Settings, plain, read_json, reading, shown, whole
from minimodels.stored.aligned import save_aligned

AGAIN = "Fetch it again"
# Which dictionary of a checkpoint is the model, when several hold tensors.
PREFERRED = ("state_dict", "model", "module", "model_state_dict", "net", "network", "params", "teacher", "student")
COMPANIONS = {"model": "bert_model"}  # a second model that belongs to the first: LAVT's text encoder
# In a folder: the weights, in the order in which the libraries look for them, and the settings that belong to them.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
)
SETTINGS = ("config", "preprocessor_config", "open_clip_config", "tokenizer_config")
VOCABULARIES = ("vocab.txt", "tokenizer.json", "vocab.json")  # read by whom they concern
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
INDEX = ".index.json"  # how the name of a list of shards ends
MOST_TENSORS = 100_000
HEADER = 25_000_000  # bytes of a .safetensors file's header, several hundred for each of so many tensors
EXPLAINED = 4_000_000  # bytes of a header that is read again to say what is wrong with the file
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(eq=False)
class Checkpoint(Mapping[str, Tensor]):
    """What a file holds. As a mapping it is `tensors`.

    Args:
        tensors: the model's state dict, {name: tensor}, dtypes as stored, memory-mapped where the file allows.
        parts: every dictionary of tensors by its name in the file ("model", "bert_model" ...), `tensors` among them.
        extras: everything that is not a tensor of a part: "args" (an argparse.Namespace is a plain dictionary),
            "epoch", and "config", "preprocessor_config", "open_clip_config", "tokenizer_config" for the JSON files
            beside weights with a library's name, "vocabulary" for the path of a vocabulary beside (`VOCABULARIES`).
        metadata: the text metadata of a safetensors file.
        kind: "safetensors", "torch", "torch_legacy" or "torchscript".
        path: the file, folder or index.
    """

    tensors: dict[str, Tensor] = field(repr=False)
    kind: str
    path: Path
    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False)
    extras: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def read_tensors(path: str | Path, part: str | None = None) -> Checkpoint:
    """The tensors of an official file, of a folder with one, or of shards named by an index.

    Which dictionary is `tensors`: the one named `part`; otherwise the outermost one, unless a nested one holds more
    tensors; among nested ones the first of `PREFERRED` ("state_dict", "model" ...), or the only one. A `bert_model`
    beside a `model` belongs to it: its tensors come too, named "bert_model." in front.

    Raises:
        UserError: the file is missing, is something else, is damaged, holds code, or holds several dictionaries of
            tensors and none is obvious.
    """
    path = Path(path)
    try:
        with reading(path):
            file = find_weights(path) if path.is_dir() else path
            return _with_settings(_read_shards(file) if file.name.endswith(INDEX) else _read_file(file, part))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"cannot read {path}: it takes more memory than there is") from error


def find_weights(folder: Path) -> Path:
    """The file with the weights in a folder: one of the libraries' names, or the only one that can be one.

    Hidden files are none: a writer that was killed leaves them behind.

    Raises:
        UserError: there is none, or several.
    """
    for name in WEIGHTS:
        if _beside(folder / name):
            return folder / name
    found = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found[:6])
    raise UserError(
        f"{folder} holds {f'several checkpoints ({names}); name one' if found else 'no checkpoint'}: {EXPECTED}"
    )


def check_dtypes(tensors: Mapping[str, Tensor], what: str) -> None:
    """Weights must be ordinary floating numbers.

    Args:
        tensors: those that fill a model, as the file has them: a sum or a stack of several hides what one of them is.

    Raises:
        UserError: some tensor is quantised, complex, or made of integers.
    """
    wrong = [
        f"{name} is {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in tensors.items()
        if tensor.dtype not in FLOATS
    ]
    if wrong:
        raise UserError(
            f"{what}: {len(wrong)} of {len(tensors)} tensors are not floating numbers, first {', '.join(wrong[:3])}; "
            "expected float16, bfloat16, float32 or float64. A quantised copy? Take the original weights"
        )


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict whole or not at all: .safetensors, or torch.save's format for .pt, .pth and .bin.

    Tensors that share memory are written as often as they are named in .safetensors, and once in the other format.

    Args:
        metadata: text for the header of a .safetensors file; other formats have no place for it.

    Raises:
        UserError: another suffix, metadata that has no place, a folder that cannot be written, too little space.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"cannot tell the format of {path.name!r}: end it in .safetensors, .pt, .pth or .bin")
    if metadata and path.suffix != ".safetensors":
        raise UserError(f"{path.name}: only .safetensors has a place for metadata")
    with write_aside(path) as aside:
        try:
            if path.suffix == ".safetensors":
                save_aligned(tensors, aside, metadata)
            else:
                torch.save({name: _compact(tensor.detach()) for name, tensor in tensors.items()}, aside)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot write {path}: {reason}. Free some space or choose another folder.") from error


def _compact(tensor: Tensor) -> Tensor:
    """The tensor alone: torch.save would write the whole block of memory that a slice looks at."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size() else tensor.clone()


# Reading: by the first bytes.


def _read_file(path: Path, part: str | None) -> Checkpoint:
    """One file with tensors."""
    if not path.is_file():
        raise UserError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
    try:
        return _by_first_bytes(path, part)
    except Refused as error:
        raise UserError(_refusal(path, error.names)) from None
    except Damaged as error:
        raise UserError(f"{path} is damaged or cut short ({error}). {AGAIN}.") from None


def _by_first_bytes(path: Path, part: str | None) -> Checkpoint:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        return _from_value(path, *read_zip(path), part)
    if len(head) > 8 and head[8:9] == b"{" and not head.lstrip().startswith(b"<"):
        return _read_safetensors(path, size, struct.unpack("<Q", head[:8])[0])
    what = foreign(head, size)
    if what is None:
        try:
            return _from_value(path, "torch_legacy", read_legacy(path), part)
        except Damaged:
            if head.startswith(b"\x80"):  # a pickle after all
                raise
            what = "a text file" if _is_text(head) else "a file of an unknown format"
    raise UserError(f"{path} is {what}; {EXPECTED}. {AGAIN}, or check where it came from.")


def foreign(head: bytes, size: int) -> str | None:
    """What a file is that is no checkpoint, by its first bytes; None when they say nothing."""
    start = head.lstrip()[:64].lower()
    if size == 0:
        return "empty"
    if head.startswith(b"version https://git-lfs"):
        return "a git-LFS pointer, a few lines of text in place of the file (git lfs pull fetches the file itself)"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "a web page, probably an error or a sign-in page saved under this name"
    for magic, what in _MAGICS.items():
        if head.startswith(magic):
            return what
    if start.startswith((b"{", b"[")):
        return "a JSON text"
    return "a tar archive (unpack it first)" if head[257:262] == b"ustar" else None


_MAGICS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"RIFF": "a WebP picture or a sound",
    b"II*\x00": "a TIFF picture",
    b"MM\x00*": "a TIFF picture",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive (unpack it first)",
    b"7z\xbc\xaf": "a 7z archive (unpack it first)",
    b"BZh": "a bzip2 archive (unpack it first)",
    b"Rar!": "a RAR archive (unpack it first)",
    b"\x89HDF": "a Keras or TensorFlow file (HDF5)",
    b"GGUF": "a GGUF file (quantised for llama.cpp)",
    b"\x93NUMPY": "a numpy array",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"PK\x05\x06": "an empty zip archive",
}


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


def _refusal(path: Path, names: list[str]) -> str:
    shown = ", ".join(map(plain, names[:4])) + (" ..." if len(names) > 4 else "")
    if any(name.startswith("torch.nn.modules") or name.startswith("__main__") for name in names):
        hint = "It holds a whole pickled model: ask its author for the state dict alone"
    else:
        hint = "Weights need no such thing: open this file with nothing that runs pickles, get it from its source"
    return f"{path} contains pickled code and was not loaded; it names {shown}. {hint}."


def _read_safetensors(path: Path, size: int, header: int) -> Checkpoint:
    """Memory-mapped by the library; the header is checked first, for a better message."""
    if header + 8 > size:
        raise Damaged(f"its header alone should take {header:,} bytes, the file has {size:,}")
    if header > HEADER:
        raise Damaged(f"its header takes {header:,} bytes, none of a checkpoint takes more than {HEADER:,}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            if len(names) > MOST_TENSORS:
                raise Damaged(f"it has {len(names):,} tensors, no checkpoint has more than {MOST_TENSORS:,}")
            for name in names:
                check_shape(file.get_slice(name).get_shape())
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise Damaged(_safetensors_reason(path, size, header) or plain(str(error), 160)) from None
    _check_names(path, tensors)
    return Checkpoint(tensors, "safetensors", path, {"": tensors}, {}, metadata)


def _safetensors_reason(path: Path, size: int, header: int) -> str | None:
    """How many bytes are missing, if the header can be read."""
    if header > EXPLAINED:
        return None
    with path.open("rb") as file:
        file.seek(8)
        content = file.read(header)
    try:
        entries = json.loads(content)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        wanted = whole(8 + header + max(ends), "its length", most=LARGEST)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None
    return f"it should have {wanted:,} bytes, it has {size:,}" if wanted != size else None


def _check_names(path: Path, names: Iterable[Any]) -> None:
    """Names of tensors are texts that print: they are shown, compared with patterns and written into other files."""
    for name in names:
        if not isinstance(name, str) or not name or not name.isprintable() or len(name) > LONGEST_NAME:
            what = f"the name {plain(name)!r}" if isinstance(name, str) else f"a {type(name).__name__} for a name"
            raise UserError(f"{path} has {what}; expected names that are texts and can be printed, as a state dict has")


def _read_shards(index: Path) -> Checkpoint:
    """All files of a `*.index.json`, as one."""
    names = Settings(read_json(index), str(index)).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(file, str) for file in names.values()):
        raise UserError(f"{index} is no index of shards: it has no weight_map, or an empty one")
    shards = list(dict.fromkeys(names.values()))
    for shard in shards:
        if Path(shard).name != shard or "\\" in shard:
            raise UserError(f"{index} names {plain(shard)!r}, a file outside its own folder")
        if shard.endswith(INDEX):
            raise UserError(f"{index} names {plain(shard)!r}, which is an index again, not a file with tensors")
    missing = [plain(shard) for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise UserError(
            f"{index.parent} lacks {len(missing)} of the {len(shards)} shards of {index.name}: {', '.join(missing[:4])}"
        )
    read = {shard: _read_file(index.parent / shard, None) for shard in shards}
    lost = [plain(name) for name, shard in names.items() if name not in read[shard]]
    if lost:
        raise UserError(
            f"{index} lists {len(lost)} tensors that their shards do not hold, first {', '.join(lost[:3])}. {AGAIN}."
        )
    tensors: dict[str, Tensor] = {}
    for shard, checkpoint in read.items():
        if twice := [name for name in checkpoint if name in tensors]:
            raise UserError(f"{index}: {twice[0]} is in {plain(shard)} and in another of its shards. {AGAIN}.")
        tensors.update(checkpoint)
    first = read[shards[0]]
    return Checkpoint(tensors, first.kind, index, {"": tensors}, {}, first.metadata)


def _beside(path: Path) -> bool:
    """Whether something has this name. What has it and cannot be read (a folder, a pipe, a lost link) is told."""
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{path} is no file that can be read, though its name says what it should hold; take it away")
    return path.is_file()


def _with_settings(checkpoint: Checkpoint) -> Checkpoint:
    """The settings that lie beside a file with one of the libraries' own names."""
    if checkpoint.path.name in WEIGHTS:
        for stem in SETTINGS:
            if _beside(file := checkpoint.path.with_name(f"{stem}.json")):
                checkpoint.extras[stem] = read_json(file)
                Settings(checkpoint.extras[stem], str(file))  # an object, whatever is in it
    found = [file for name in VOCABULARIES if _beside(file := checkpoint.path.with_name(name))]
    checkpoint.extras |= {"vocabulary": str(found[0])} if found else {}
    return checkpoint


def _from_value(path: Path, kind: str, value: Any, part: str | None) -> Checkpoint:
    """Choose the state dict among what a pickle held."""
    if not isinstance(value, dict):
        raise UserError(
            f"{path} holds a {type(value).__name__}, not a dictionary of tensors; save the model's state_dict()"
        )
    _check_names(path, (name for name in value if isinstance(name, str)))
    parts, extras = {}, {}
    for name, inner in {"": value, **value}.items():
        if tensors := _named(inner) if isinstance(name, str) else {}:
            parts[name] = tensors
        elif name != "":
            extras[name] = inner
    chosen = _choose(path, parts, part)
    second = COMPANIONS.get(chosen, "") if part is None else ""
    for name in (chosen, second) if second in parts else (chosen,):
        _nothing_lost(path, name, value[name] if name else value)
    extras = {name: item for name, item in extras.items() if name not in parts.get("", {})}
    joined = {f"{second}.{name}": tensor for name, tensor in parts.get(second, {}).items()} if second else {}
    return Checkpoint(parts[chosen] | joined, kind, path, parts, extras)


def _named(value: Any) -> dict[str, Tensor]:
    """The tensors of a dictionary that have texts for names."""
    items = value.items() if isinstance(value, dict) else ()
    return {name: item for name, item in items if isinstance(name, str) and isinstance(item, Tensor)}


def _nothing_lost(path: Path, name: str, part: Mapping[Any, Any]) -> None:
    """The dictionary that is the model holds no tensor that its names and tensors leave out."""
    _check_names(path, (key for key, item in part.items() if isinstance(item, Tensor)))
    for key, item in part.items() if name else ():
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, (list, tuple)) else ()
        if any(isinstance(value, Tensor) for value in inner):
            raise UserError(
                f"{path}: beside the tensors of {name!r} lies {shown(key)}, which holds tensors again; expected one "
                "dictionary of tensors. Save the model's state_dict()"
            )


def _choose(path: Path, parts: Mapping[str, Mapping[str, Tensor]], part: str | None) -> str:
    """The name of the dictionary that is the model."""
    names = ", ".join(repr(name) for name in parts if name)
    if part is not None:
        if part not in parts:
            raise UserError(f"{path} has no part {part!r} with tensors; it has: {names or 'one dictionary, unnamed'}")
        return part
    nested = [name for name in parts if name]
    if "" in parts and len(parts[""]) >= max((len(parts[name]) for name in nested), default=0):
        return ""
    for name in PREFERRED:
        if name in nested:
            return name
    if len(nested) != 1:
        problem = (
            f"several dictionaries of tensors ({names}); say which is the model" if nested else "no tensors with names"
        )
        raise UserError(f"{path} holds {problem}")
    return nested[0]
