"""Official checkpoints in and out, through readable tables.

build(tensors, "clip")                 official tensors -> our model
load("openai/clip-vit-base-patch32")   official name or file -> our model, with .preprocess and .tokenize
export(model, "transformers")          our model -> tensors under the reference's names
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.building import build_model
from checkpoints_convert.exporting import export_as
from checkpoints_convert.load import load
from checkpoints_convert.tables import SYSTEMS, find_system
from checkpoints_convert.tables.system import detect, unwrapped
from minimodels.errors import UserError

__all__ = ["SYSTEMS", "build", "export", "load"]


def build(
    tensors: Mapping[str, Tensor],
    system: str,
    *,
    format: str | None = None,
    dtype: torch.dtype | None = None,
    **told: Any,
) -> nn.Module:
    """A filled model in eval mode, read from official tensors.

    Args:
        tensors: {reference name: tensor}, of any format of the system.
        system: "vit", "clip" ...
        format: the names' format, "timm", "openai" ...; found out when None.
        dtype: of the model; None keeps the checkpoint's, float32 when it mixes several.
        told: what shapes cannot tell and no config says (`num_heads`, `quick_gelu` ...), by the system's own names.

    Raises:
        UserError: an unknown system or format, or a checkpoint that does not fill the model: one message lists
            everything.
    """
    chosen = find_system(system)
    if format is None:
        tensors = unwrapped(tensors, SYSTEMS)
        found, format = detect(tensors, SYSTEMS)
        if found != system:
            raise UserError(f"this is a {found} checkpoint ({format} names), not one of {system}")
    if format not in chosen.formats:
        raise UserError(f"{system} has no format {format!r}; there are: {', '.join(chosen.formats)}")
    return build_model(tensors, chosen, format, told, dtype)


def export(model: nn.Module, target: str) -> dict[str, Tensor]:
    """{reference name: tensor} for a model made by `build` or either `load`: the inverse of the target's table.

    Raises:
        UserError: the model's system has no such format, or the format cannot hold this model.
    """
    return export_as(model, target).tensors
