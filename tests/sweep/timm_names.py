"""timm's part of the sweep: every name of its Vision Transformers, Swin Transformers and ResNets."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from checkpoints_convert.load import load
from checkpoints_convert.proof.verify import redraw_all
from tests.sweep import Outcome, judge

LIBRARIES = ("timm", "torch")
FILES = ("vision_transformer", "swin_transformer", "resnet")
VIT, SWIN, RESNET = (timm.list_models(module=module) for module in FILES)
NAMES: list[str] = [*VIT, *SWIN, *RESNET]
BLOCKS = {"layers": [1, 1, 1, 1]}  # of a ResNet; a pruned one stays whole, as timm's table of its widths has it


def attempt(name: str, folder: Path) -> Outcome:
    """timm's model saved as it is pushed to the hub; ours from that folder; both see the same pictures."""
    theirs = shrunk(name)
    arguments = BLOCKS if name in RESNET and not name.endswith("_pruned") else None
    timm.models.save_for_hf(theirs, str(folder), model_args=arguments, safe_serialization=True)
    image = pictures(theirs)
    with torch.inference_mode():
        expected = {"answer": theirs.double()(image)}
        return judge(
            name, f"timm, {group(name)}", expected, lambda: {"answer": load(folder, dtype=torch.float64)(image)}
        )


def group(name: str) -> str:
    """Which of timm's files a name is in."""
    return next(file for file, names in zip(FILES, (VIT, SWIN, RESNET), strict=True) if name in names)


def shrunk(name: str, **changes: Any) -> nn.Module:
    """The library's model with two blocks (a wide one with one), or one or two a stage, its parameters redrawn.

    A ViT reads pictures of 4 x 4 patches.
    """
    if name in RESNET:
        return redraw_all(timm.create_model(name, **({} if name.endswith("_pruned") else BLOCKS), **changes))
    if name in SWIN:
        return redraw_all(timm.create_model(name, depths=(2, 2, 2, 2), **changes))
    with torch.device("meta"):
        whole: Any = timm.create_model(name, depth=1)
    size, depth = 4 * whole.patch_embed.patch_size[0], 2 if whole.embed_dim <= 768 else 1
    return redraw_all(timm.create_model(name, img_size=size, depth=depth, **changes))


def pictures(model: Any) -> Tensor:
    """Noise of the size that the model was made for; a ResNet reads any."""
    if not hasattr(model, "patch_embed"):
        return torch.randn(2, 3, 64, 96, dtype=torch.float64)
    return torch.randn(2, 3, *model.patch_embed.img_size, dtype=torch.float64)
