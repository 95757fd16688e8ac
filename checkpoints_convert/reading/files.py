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
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from checkpoints_convert.reading.archives import EXPECTED, read_legacy, read_zip
from checkpoints_convert.reading.pickles import Damaged, Refused
from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.errors.untrusted import Settings, read_json
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
VOCABULARIES = ("vocab.txt", "tokenizer.json")  # read by whom they concern
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(eq=False)
class Checkpoint(Mapping[str, Tensor]):
    """What a file holds. As a mapping it is `tensors`.

    Args:
        tensors: the model's state dict, {name: tensor}, dtypes as stored, memory-mapped where the file allows.
        parts: every dictionary of tensors by its name in the file ("model", "bert_model" ...), `tensors` among them.
        extras: everything that is not a tensor of a part: "args" (an argparse.Namespace is a plain dictionary),
            "epoch", and "config", "preprocessor_config", "open_clip_config", "tokenizer_config" for the JSON files
            beside weights with a library's name, "vocabulary" for the path of a vocab.txt or tokenizer.json beside.
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
        if path.is_dir():
            return read_tensors(find_weights(path), part)
        if not path.is_file():
            raise UserError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
        if path.name.endswith(".index.json"):
            return _with_settings(_read_shards(path))
        return _with_settings(_read_file(path, part))
    except Refused as error:
        raise UserError(_refusal(path, error.names)) from None
    except Damaged as error:
        raise UserError(f"{path} is damaged or cut short ({error}). {AGAIN}.") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def find_weights(folder: Path) -> Path:
    """The file with the weights in a folder: one of the libraries' names, or the only one that can be one.

    Raises:
        UserError: there is none, or several.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    found = sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", ".pt", ".pth", ".bin"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found[:6])
    raise UserError(
        f"{folder} holds {f'several checkpoints ({names}); name one' if found else 'no checkpoint'}: {EXPECTED}"
    )


def check_dtypes(tensors: Mapping[str, Tensor], what: str) -> None:
    """Weights must be ordinary floating numbers; counters and indices may be int64, int32 or bool.

    Raises:
        UserError: some tensor is quantised, complex, or a weight made of integers.
    """
    whole = (torch.int64, torch.int32, torch.bool)
    wrong = [
        f"{name} is {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in tensors.items()
        if tensor.dtype not in FLOATS and (tensor.dtype not in whole or name.endswith((".weight", ".bias")))
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
    if path.suffix not in (".safetensors", ".pt", ".pth", ".bin"):
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
    shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
    if any(name.startswith("torch.nn.modules") or name.startswith("__main__") for name in names):
        hint = "It holds a whole pickled model: ask its author for the state dict alone"
    else:
        hint = "Weights need no such thing: open this file with nothing that runs pickles, get it from its source"
    return f"{path} contains pickled code and was not loaded; it names {shown}. {hint}."


def _read_safetensors(path: Path, size: int, header: int) -> Checkpoint:
    """Memory-mapped by the library; the header is checked first, for a better message."""
    if header + 8 > size:
        raise Damaged(f"its header alone should take {header:,} bytes, the file has {size:,}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise Damaged(_safetensors_reason(path, size, header) or str(error)) from None
    return Checkpoint(tensors, "safetensors", path, {"": tensors}, {}, metadata)


def _safetensors_reason(path: Path, size: int, header: int) -> str | None:
    """How many bytes are missing, if the header can be read."""
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(min(header, 100_000_000))
    try:
        entries = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        wanted = 8 + header + max(ends)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None
    return f"it should have {wanted:,} bytes, it has {size:,}" if wanted != size else None


def _read_shards(index: Path) -> Checkpoint:
    """All files of a `*.index.json`, as one."""
    names = Settings(read_json(index), str(index)).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(file, str) for file in names.values()):
        raise UserError(f"{index} is no index of shards: it has no weight_map")
    shards = list(dict.fromkeys(names.values()))
    for shard in shards:
        if Path(shard).name != shard or "\\" in shard:
            raise UserError(f"{index} names {shard!r}, a file outside its own folder")
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise UserError(
            f"{index.parent} lacks {len(missing)} of the {len(shards)} shards of {index.name}: {', '.join(missing[:4])}"
        )
    read = [read_tensors(index.parent / shard) for shard in shards]
    tensors = {name: tensor for checkpoint in read for name, tensor in checkpoint.items()}
    lost = [name for name in names if name not in tensors]
    if lost:
        raise UserError(
            f"{index.name} lists {len(lost)} tensors that no shard holds, first {', '.join(lost[:3])}. {AGAIN}."
        )
    return Checkpoint(tensors, read[0].kind, index, {"": tensors}, {}, read[0].metadata)


def _with_settings(checkpoint: Checkpoint) -> Checkpoint:
    """The settings that lie beside a file with one of the libraries' own names."""
    if checkpoint.path.name in WEIGHTS:
        for stem in SETTINGS:
            if (file := checkpoint.path.with_name(f"{stem}.json")).is_file():
                checkpoint.extras[stem] = dict(Settings(read_json(file), str(file)))
    found = [file for name in VOCABULARIES if (file := checkpoint.path.with_name(name)).is_file()]
    checkpoint.extras |= {"vocabulary": str(found[0])} if found else {}
    return checkpoint


def _from_value(path: Path, kind: str, value: Any, part: str | None) -> Checkpoint:
    """Choose the state dict among what a pickle held."""
    if not isinstance(value, dict):
        raise UserError(
            f"{path} holds a {type(value).__name__}, not a dictionary of tensors; save the model's state_dict()"
        )
    parts, extras = {}, {}
    for name, inner in {"": value, **value}.items():
        tensors = (
            {key: item for key, item in inner.items() if isinstance(key, str) and isinstance(item, Tensor)}
            if isinstance(inner, dict)
            else {}
        )
        if tensors:
            parts[name] = tensors
        elif name != "":
            extras[name] = inner
    chosen = _choose(path, parts, part)
    extras = {name: item for name, item in extras.items() if name not in parts.get("", {})}
    second = COMPANIONS.get(chosen, "") if part is None else ""
    joined = {f"{second}.{name}": tensor for name, tensor in parts.get(second, {}).items()} if second else {}
    return Checkpoint(parts[chosen] | joined, kind, path, parts, extras)


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
        problem = f"several dictionaries of tensors ({names}); say which is the model" if nested else "no tensors"
        raise UserError(f"{path} holds {problem}")
    return nested[0]
