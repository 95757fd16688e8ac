"""From a name or a file to a model that answers: find the file, read it, convert it, put pixels and words beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from checkpoints_convert.building import build_model
from checkpoints_convert.fetching import hub
from checkpoints_convert.reading.files import Checkpoint, read_tensors
from checkpoints_convert.tables import SYSTEMS
from checkpoints_convert.tables.system import System, detect, unwrapped
from minimodels.errors import UserError
from minimodels.errors.untrusted import Settings, reading
from minimodels.stored import embedded, models


@dataclass
class Source:
    """What a name or a path stands for, read.

    Args:
        checkpoint: the tensors and what lies beside them.
        told: what the catalogue tells about it beyond the shapes.
        format: its names' format there; None lets the tensors say.
        name: of an embedded model or a catalogue entry; empty for a reader's own file.
    """

    checkpoint: Checkpoint
    told: dict[str, Any] = field(default_factory=dict)
    format: str | None = None
    name: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether we wrote the file: our names, all it needs in its metadata."""
        return models.is_ours(self.checkpoint.metadata)


def open_source(name_or_path: str | Path, part: str | None = None) -> Source:
    """An official name (fetched when it is not there), a file or a folder, or the name of an embedded model.

    Raises:
        UserError: no such name or file, or a file that is not a checkpoint.
    """
    name = str(name_or_path)
    with reading(name):
        if Path(name).exists():
            return Source(read_tensors(name, part))
        if name in embedded.names():
            return Source(read_tensors(embedded.file(name), part), name=name)
        entry = hub.find(name)
        lacking = {} if entry.clip is None else {"clip": entry.clip}
        return Source(read_tensors(hub.fetch(entry)[0], part), {**lacking, **entry.told}, entry.format, entry.name)


def load(
    name_or_path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
    **told: Any,
) -> nn.Module:
    """A filled model in eval mode, with `.preprocess` and, where it reads text, `.tokenize`.

    Args:
        name_or_path: an official name (see `python -m checkpoints_convert list`; fetched into the cache when it is not
            there), an official file or folder, a file that we wrote, or the name of an embedded model.
        device, dtype: of the model; dtype None keeps the checkpoint's.
        told: what neither shapes nor a config can tell (`quick_gelu=False` ...).

    Raises:
        UserError: no such name or file, a file that is not a checkpoint, a checkpoint that does not fill the model.
    """
    source = open_source(name_or_path)
    source.told |= told
    return load_source(source, device, dtype)


def load_source(source: Source, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> nn.Module:
    """The same from what was read already; a config beside the weights counts too, what is told wins."""
    checkpoint = source.checkpoint
    with reading(checkpoint.path):
        if source.is_ours:
            if source.told:
                keys = ", ".join(source.told)
                raise UserError(
                    f"{checkpoint.path} is one of our files and says all of itself: tell it nothing ({keys})"
                )
            return models.open_file(checkpoint.path, device, dtype)
        system_name, found = recognise(checkpoint)
        system = SYSTEMS[system_name]
        known = everything_told(system, checkpoint, source.told)
        model = build_model(checkpoint.tensors, system, source.format or found, known, dtype, device)
        about: dict[str, Any] = model.about  # type: ignore[assignment]
        beside = Settings({**lent(system), **texts_only(checkpoint.extras)}, f"what lies beside {checkpoint.path.name}")
        return models.equip(model, {**about, **system.surroundings(about["arguments"], about["format"], beside)})


def recognise(checkpoint: Checkpoint) -> tuple[str, str]:
    """System and format by the tensors' names, which lose what training put before each of them.

    Raises:
        UserError: no table knows them. A config beside them that only one system's library writes may say why.
    """
    checkpoint.tensors = dict(unwrapped(checkpoint.tensors, SYSTEMS))
    try:
        return detect(checkpoint.tensors, SYSTEMS)
    except UserError:
        for system in SYSTEMS.values():
            if system.own_config in checkpoint.extras:
                system.from_config(config_named(checkpoint, system.own_config))  # raises what ours is not like
        raise


def lent(system: System) -> dict[str, str]:
    """The paths of what other official checkpoints lend a system; nothing of those that are not on this machine."""
    found = {key: hub.local_file(hub.find(name), file) for key, (name, file) in system.lent.items()}
    return {key: str(path) for key, path in found.items() if path is not None}


def everything_told(system: System, checkpoint: Checkpoint, told: Mapping[str, Any]) -> dict[str, Any]:
    """What the config beside the weights tells, what the caller tells (it wins), and a CLIP told by name opened."""
    known = {**system.from_config(config_of(checkpoint)), **told}
    if system.join is not None and "clip" in known and not isinstance(known["clip"], Mapping):
        path = Path(str(known["clip"]))
        known["clip"] = read_tensors(path if path.exists() else hub.fetch(hub.find(str(known["clip"])))[0]).tensors
    return known


def config_of(checkpoint: Checkpoint) -> Settings:
    """The library's own config beside the weights, or the command line of the training inside, whichever there is.

    A folder may have configs of two libraries, for weights in the names of each: open_clip's files say so.
    """
    names = ("open_clip_config", "config", "args")
    for name in names if checkpoint.path.name.startswith("open_clip") else (*names[1:], names[0]):
        if config := config_named(checkpoint, name):
            return config
    return Settings({}, "config.json")


def config_named(checkpoint: Checkpoint, name: str) -> Settings:
    """What a checkpoint has beside or inside it under a name, where that is an object."""
    config = checkpoint.extras.get(name)
    where = name if name == "args" else f"{name}.json"
    return Settings(texts_only(config) if isinstance(config, dict) else {}, where)


def texts_only(values: Mapping[Any, Any]) -> dict[str, Any]:
    """What a pickle's dictionary holds under texts; other keys name nothing that is asked for."""
    return {key: value for key, value in values.items() if isinstance(key, str)}
