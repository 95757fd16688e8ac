"""The index of a folder: one embedding a picture, computed once and kept in a file next to the pictures (lesson 3.5).

A picture is computed again when its size or time has changed; the whole index when the model is another.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from minimodels.clip import DualEncoder
from minimodels.errors import UserError
from minimodels.errors.aside import write_aside
from minimodels.errors.untrusted import parse_json, text, whole
from minimodels.pixels import preprocess
from minimodels.terminal import door
from minimodels.terminal.printing import notice, progress
from minimodels.words.templates import label_embeddings

BATCH = 32
VERSION = "2"
UNIT = 1e-3  # how far a stored vector's length may be from 1
Stamp = tuple[str, int, int]  # a picture's path inside the folder, its size in bytes and its time in nanoseconds


@dataclass
class Index:
    """Unit vectors (N, E), one for each stamp; `folder` is where the stamps' paths start."""

    folder: Path
    stamps: list[Stamp]
    vectors: Tensor

    def path(self, number: int) -> Path:
        """The file of picture `number`."""
        return self.folder / self.stamps[number][0]


def open_index(folder: Path, stamps: list[Stamp], model: DualEncoder, model_name: str) -> Index:
    """The index of these pictures of a folder, brought up to date: new and changed ones are embedded, others forgotten.

    Raises:
        UserError: none of the pictures can be read.
    """
    places, identity = index_places(folder, model_name), fingerprint(model)
    width = label_embeddings(model, ["a picture"], ("{}",)).shape[-1]  # towers name their last layer differently
    known = {stamp: vector for place in places for stamp, vector in read_index(place, identity, width).items()}
    fresh = [stamp for stamp in stamps if stamp not in known]
    vectors = {stamp: known[stamp] for stamp in stamps if stamp in known}
    try:
        vectors |= embed(folder, fresh, model)
    except Interrupted as stop:  # what is done is kept, the next search goes on from there
        keep({**vectors, **stop.vectors}, places, identity)
        raise KeyboardInterrupt from stop
    if not vectors:
        raise UserError(f"none of the {len(stamps)} pictures in {folder} can be read")
    if vectors.keys() != known.keys():
        keep(vectors, places, identity)
    return Index(folder, list(vectors), torch.stack(list(vectors.values())))


def list_pictures(folder: Path, leave_out: Path | None = None) -> list[Stamp]:
    """The pictures in a folder and its folders by their ending, hidden ones left out, in the order of their names.

    Args:
        leave_out: a file that is no picture of the collection (the sheet of an earlier search).

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        what = "is a file, expected a folder of pictures" if folder.exists() else "does not exist; check the name"
        raise UserError(f"{folder} {what}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"the folder {folder} may not be read")
    stamps = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(names)):
            if path.name.startswith(".") or path.suffix.lower() not in door.PICTURE_ENDINGS or not path.is_file():
                continue
            if leave_out is None or not leave_out.exists() or not path.samefile(leave_out):
                about = path.stat()
                stamps.append((path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns))
    if not stamps:
        raise UserError(f"there is no picture in {folder}; expected files that end in .png, .jpg, .webp ...")
    return stamps


class Interrupted(Exception):
    """Ctrl-C while embedding; `vectors` holds what was done."""

    def __init__(self, vectors: dict[Stamp, Tensor]):
        super().__init__()
        self.vectors = vectors


def embed(folder: Path, stamps: list[Stamp], model: DualEncoder) -> dict[Stamp, Tensor]:
    """Unit vectors (E,) of pictures, in batches; a picture that cannot be read is named on stderr and left out."""
    vectors: dict[Stamp, Tensor] = {}
    try:
        with progress("embedding pictures", len(stamps)) as bar:
            for start in range(0, len(stamps), BATCH):
                batch = stamps[start : start + BATCH]
                tensors = dict(readable(folder, batch, model))
                if tensors:
                    vectors |= zip(tensors, embed_batch(model, torch.stack(list(tensors.values()))))
                bar.step(start + len(batch))
    except KeyboardInterrupt as stop:
        raise Interrupted(vectors) from stop
    return vectors


def readable(folder: Path, batch: Iterable[Stamp], model: DualEncoder) -> Iterator[tuple[Stamp, Tensor]]:
    """Each picture of a batch that can be read, as the model's tensor (3, H, W); the others are named on stderr."""
    for stamp in batch:
        try:
            picture = door.read_picture(folder / stamp[0], model)
            yield stamp, model.preprocess(picture)  # type: ignore[operator]
        except UserError as error:
            notice(f"skipped: {error}")


@torch.no_grad()
def embed_batch(model: DualEncoder, pixels: Tensor) -> Tensor:
    """Unit vectors (B, E), float32 on the CPU, of preprocessed pictures (B, 3, H, W)."""
    scale = model.logit_scale
    return F.normalize(model.encode_image(pixels.to(scale.device, scale.dtype)).float(), dim=-1).cpu()


# The file.


def index_places(folder: Path, model_name: str) -> list[Path]:
    """Where the index of a folder may lie: in the folder, or, where that cannot be written, in the user's cache."""
    name = Path(model_name).stem if Path(model_name).exists() else model_name
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:100] or "model"
    file = f"pixels-and-prompts.{slug}.safetensors"
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return [folder / f".{file}", cache_folder() / "search" / f"{key}.{file}"]


def cache_folder() -> Path:
    """Our folder in the user's cache."""
    home = (
        os.environ.get("XDG_CACHE_HOME") or (sys.platform == "win32" and os.environ.get("LOCALAPPDATA")) or "~/.cache"
    )
    return Path(home).expanduser() / "pixels-and-prompts"


def fingerprint(model: DualEncoder) -> str:
    """A short name for these weights with this preprocessing: a hash over the first 64 numbers of each tensor."""
    digest = hashlib.sha256(json.dumps(preprocess.preprocess_to_dict(model.preprocess)).encode())  # type: ignore[arg-type]
    for name, tensor in sorted(model.state_dict().items()):
        start = tensor.flatten()[:64].cpu().contiguous().view(torch.uint8)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode() + start.numpy().tobytes())
    return digest.hexdigest()[:32]


def read_index(path: Path, identity: str, width: int) -> dict[Stamp, Tensor]:
    """What an index file knows. Empty: there is none, it is of another model, or, with a notice, it is damaged."""
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if (about.get("version"), about.get("model")) != (VERSION, identity):
                return {}
            stamps, vectors = read_stamps(about), file.get_tensor("vectors")
        unit = (vectors.double().norm(dim=-1) - 1).abs() < UNIT
        if vectors.shape != (len(stamps), width) or vectors.dtype != torch.float32 or not unit.all():
            raise UserError("these are no unit vectors of this model")
        if about.get("sum") != checksum(about["pictures"], vectors):
            raise UserError("other pictures or numbers than were written")
    except (OSError, SafetensorError, UserError):
        notice(f"the index {path} is damaged and is made anew")
        return {}
    return dict(zip(stamps, vectors))


def checksum(pictures: str, vectors: Tensor) -> str:
    """A hash over names and numbers: a damaged index would find other pictures, and nobody would notice."""
    return hashlib.sha256(
        pictures.encode("utf-8", "surrogatepass") + vectors.contiguous().numpy().tobytes()
    ).hexdigest()


def read_stamps(about: Mapping[str, str]) -> list[Stamp]:
    """The stamps of an index file, in the order of its vectors.

    Raises:
        UserError: there are none, or they are something else.
    """
    rows = parse_json(about.get("pictures", ""), "pictures")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise UserError("pictures are no list of names, sizes and times")
    most = 2**63
    return [
        (text(name, "name"), whole(size, "size", least=0, most=most), whole(time, "time", least=-most, most=most))
        for name, size, time in rows
    ]


def keep(vectors: dict[Stamp, Tensor], places: list[Path], identity: str) -> None:
    """Write the index to the first place that can be written; say so when that is not the folder itself."""
    if not vectors:
        return
    pictures, numbers = json.dumps(list(vectors)), torch.stack(list(vectors.values()))
    about = {"version": VERSION, "model": identity, "pictures": pictures, "sum": checksum(pictures, numbers)}
    content = save({"vectors": numbers}, metadata=about)
    for number, place in enumerate(places):
        try:
            with write_aside(place) as aside:
                aside.write_bytes(content)
        except (UserError, OSError):
            continue
        if number:
            notice(f"{places[0].parent} cannot be written, the index is kept in {place}")
        return
    notice(
        f"the index cannot be written next to the pictures nor to {places[-1].parent}: the next search computes again"
    )
