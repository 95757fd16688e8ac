"""A genuine, tiny file of every format of every system, with all names that official files have.

Models come from the references (each library's tiny one) and, where no library has a system, from the embedded models;
each format writes those that it can hold. What a table drops is there too: a file may hold it.
"""

import warnings
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert import SYSTEMS
from checkpoints_convert.exporting import export_as
from checkpoints_convert.load import Source
from checkpoints_convert.proof.references import references
from checkpoints_convert.proof.suite import twins
from checkpoints_convert.reading.files import Checkpoint
from checkpoints_convert.tables.system import Format, detect
from minimodels.errors import UserError
from minimodels.stored import embedded, models
from tests.house.test_house import ROOT

HEADLESS = {"vit": "transformers_v5_backbone", "swin": "transformers_v5_body"}  # of the models that may lack a head


@dataclass(frozen=True)
class Genuine:
    """One file.

    Args:
        system, format: of its names.
        tensors: as a file holds them, those that are dropped among them.
        told: what its shapes do not tell.
        dropped: the names that the table drops.
    """

    system: str
    format: str
    tensors: dict[str, Tensor]
    told: dict[str, Any]
    dropped: tuple[str, ...]

    def source(self, tensors: dict[str, Tensor] | None = None) -> Source:
        """The file, read; with other tensors, the same file spoiled."""
        tensors = self.tensors if tensors is None else tensors
        checkpoint = Checkpoint(tensors, "torch", ROOT / "genuine.pth", {"": tensors})
        return Source(checkpoint, dict(self.told), self.format)


@cache
def genuine() -> dict[str, Genuine]:
    """All of them, by "system, format"."""
    found: dict[str, Genuine] = {}
    for system, ours, told in whole_models():
        for name, form in SYSTEMS[system].formats.items():
            key = f"{system}, {name}"
            if key in found or (tensors := written(ours, name, form)) is None:
                continue
            dropped = dropped_names(form, tensors)
            tensors |= {one: torch.zeros(2) for one in dropped if one not in tensors}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if detect(tensors, SYSTEMS)[0] == system:
                    found[key] = Genuine(system, name, tensors, told, tuple(dropped))
    return found


def whole_models() -> list[tuple[str, nn.Module, dict[str, Any]]]:
    """Ours, of every reference, and of the systems that no library has."""
    found = []
    for system in SYSTEMS:
        for reference in references(system):
            pair = twins(reference)
            found.append((system, pair.ours, reference.told(pair.sizes)))
            if reference.library == "transformers" and system in HEADLESS and "num_labels" in reference.tiny:
                bare = twins(replace(reference, format=HEADLESS[system]), {**reference.tiny, "head": False}, pairs=())
                found.append((system, bare.ours, reference.told(pair.sizes)))
    for name in embedded.names():
        ours: Any = models.load(name)
        if not references(ours.about["system"]):
            found.append((ours.about["system"], ours, {"text_heads": 2}))
    return found


def written(ours: nn.Module, name: str, form: Format) -> dict[str, Tensor] | None:
    """The tensors of a model in a format, those that several names share apart; None where it cannot hold it."""
    try:
        export_as(ours, name)
        tensors = form.table.export(ours.state_dict())
    except (KeyError, UserError):
        return None
    return {name: tensor.clone() for name, tensor in {**tensors, **form.computed(tensors)}.items()}


def dropped_names(form: Format, tensors: dict[str, Tensor]) -> list[str]:
    """Every name that the table drops, each number 0, but for a second spelling of a model's own part."""
    names = [
        reference.replace("{i}", "0").replace("{j}", "0")
        for rule in form.table.rules
        if rule.ours is None
        for reference in rule.references
    ]
    return [name for name in names if name not in tensors or name in form.computed(tensors)]
