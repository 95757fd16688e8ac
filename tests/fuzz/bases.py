"""What is damaged: small model files of every format, made when they are needed and the same on every run."""

import atexit
import io
import json
import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from checkpoints_convert.building import build_model
from checkpoints_convert.proof.references import Reference, all_references
from checkpoints_convert.proof.verify import redraw_all
from checkpoints_convert.tables import SYSTEMS
from minimodels.pixels.preprocess import TimmPreprocess, preprocess_to_dict
from minimodels.stored import models
from minimodels.vit import ViT


@cache
def mixed() -> dict[str, Tensor]:
    """Tensors of many types and shapes; two of them share their numbers."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=generator)
    return {
        "a.weight": weight,
        "a.bias": torch.randn(4, generator=generator).half(),
        "b.weight": torch.randn(3, 5, generator=generator).t(),
        "c": torch.tensor(3),
        "d": torch.zeros(0, 3),
        "e.weight": torch.randn(2, 3, generator=generator).bfloat16(),
        "f.weight": weight[1:3],
        "g": torch.arange(5) > 2,
        "h": torch.randn(7, generator=generator).double(),
    }


def kept_folder() -> Path:
    """A temporary folder that stays until this process ends; its children leave it alone."""
    folder, owner = Path(mkdtemp(prefix="fuzz-base-")), os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))
    return folder


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same without shared memory, as .safetensors wants them."""
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


class Script(nn.Module):
    """For a TorchScript archive: parameters, a buffer, a number beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.register_buffer("steps", torch.tensor(7))
        self.least = 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.steps


@cache
def files() -> dict[str, dict[str, bytes]]:
    """Format -> the files of an undamaged checkpoint; the first is the one to open."""
    tensors = mixed()
    found = {
        "safetensors": {"a.safetensors": save(plain(tensors), {"format": "pt"})},
        "zip": {"a.pt": saved({"model": tensors, "epoch": 3, "args": {"lr": 0.1, "names": ["x", "y"]}})},
        "flat": {"a.pt": saved(dict(tensors))},
        "legacy": {"a.pt": saved({"model": tensors, "epoch": 3}, _use_new_zipfile_serialization=False)},
        "script": {"a.pt": scripted()},
        "shards": shards(),
        "own": {"own.safetensors": own_vit()},
    }
    return found


def saved(value: Any, **options: Any) -> bytes:
    """torch.save's bytes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def scripted() -> bytes:
    """torch.jit.save's bytes."""
    buffer = io.BytesIO()
    module = redraw_all(Script())
    torch.jit.save(torch.jit.script(module), buffer)
    return buffer.getvalue()


def shards() -> dict[str, bytes]:
    """A folder of two shards, their index, and configs beside them."""
    tensors = plain(mixed())
    names = list(tensors)
    first, second = names[:5], names[5:]
    shard = "model-0000{}-of-00002.safetensors"
    index = {"weight_map": {name: shard.format(1 if name in first else 2) for name in names}, "metadata": {}}
    return {
        "model.safetensors.index.json": json.dumps(index).encode(),
        shard.format(1): save({name: tensors[name] for name in first}),
        shard.format(2): save({name: tensors[name] for name in second}),
        "config.json": json.dumps({"model_type": "vit", "num_attention_heads": 3}).encode(),
    }


VIT: dict[str, Any] = {
    "image_size": (8, 8),
    "patch_size": 4,
    "embed_dim": 8,
    "depth": 1,
    "num_heads": 2,
    "mlp_dim": 12,
    "num_classes": 3,
}


def own_vit() -> bytes:
    """One of our own model files."""
    model = redraw_all(ViT(**VIT))
    about = {
        "system": "vit",
        "class": "ViT",
        "arguments": VIT,
        "preprocess": preprocess_to_dict(TimmPreprocess(8)),
        "format": "timm",
    }
    with TemporaryDirectory() as folder:
        path = Path(folder, "own.safetensors")
        models.save(path, model, about)
        return path.read_bytes()


@cache
def reference_models() -> dict[str, tuple[Reference, nn.Module]]:
    """ "ViT beside timm" -> the description, and the library's tiny model, redrawn."""
    found = {}
    for reference in all_references():
        found[f"{reference.model} beside {reference.library}"] = (
            reference,
            redraw_all(reference.build(**reference.tiny)),
        )
    return found


def convert(reference: Reference, tensors: dict[str, Tensor], dtype: torch.dtype | None = None) -> nn.Module:
    """Our model from a library's tensors at the reference's tiny sizes."""
    told = reference.told(reference.tiny)
    return build_model(tensors, SYSTEMS[reference.system], reference.format, told, dtype)


@cache
def vit_tensors() -> dict[str, Tensor]:
    """A very small timm ViT."""
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2, "num_classes": 3}
    return redraw_all(VisionTransformer(**sizes, mlp_ratio=1.5)).state_dict()


@cache
def vit_files() -> dict[str, bytes]:
    """It in three formats."""
    tensors = vit_tensors()
    return {
        "vit.safetensors": save(tensors),
        "vit.pt": saved(tensors),
        "vit.pth": saved({"state_dict": tensors, "epoch": 1}, _use_new_zipfile_serialization=False),
    }


def vit_from(tensors: dict[str, Tensor]) -> nn.Module:
    """Ours from its tensors."""
    return build_model(tensors, SYSTEMS["vit"], "timm", {"num_heads": 2, "image_size": (8, 8)})
