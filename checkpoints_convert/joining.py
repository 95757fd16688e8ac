"""Two ready encoders, each from its own official file: one CLIP, before its training (lesson 3.13).

join_encoders("timm/resnet50.a1_in1k", "distilbert/distilbert-base-uncased")

The encoders answer as they were trained to; the two projection heads know nothing yet.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from checkpoints_convert.load import load
from checkpoints_convert.tables.distilbert_clip import text_rows
from minimodels.bert import BERT
from minimodels.errors import UserError
from minimodels.projected_clip import ProjectedCLIP
from minimodels.resnet import ResNet
from minimodels.stored import models
from minimodels.vit import ViT


def join_encoders(
    image: str | Path,
    text: str | Path,
    *,
    embed_dim: int = 256,
    temperature: float = 1.0,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> ProjectedCLIP:
    """A `ProjectedCLIP` in eval mode, with the image encoder's `.preprocess` and, where words are beside, `.tokenize`.

    A classifier's head and BERT's pooler are left out. A ViT is pooled as it was trained: by its class token where it
    has one, and then the names of the official repository, which pools the mean, cannot hold the whole.

    Args:
        image, text: an official name, a file or a folder each, as `load` takes them: a ViT or ResNet, a BERT.
        embed_dim, temperature: of the whole, see `ProjectedCLIP`.
        seed: of the heads' first weights.
        device, dtype: see `load`.

    Raises:
        UserError: what `load` raises; another kind of encoder.
    """
    seen, read = load(image, dtype=dtype), load(text, dtype=dtype)
    if not isinstance(seen, ViT | ResNet):
        raise UserError(f"{image} is a {type(seen).__name__}, expected an image encoder: a ViT or a ResNet")
    if not isinstance(read, BERT):
        raise UserError(f"{text} is a {type(read).__name__}, expected a text encoder: a BERT or DistilBERT")
    seen.head, read.pooler = nn.Identity(), None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ProjectedCLIP(seen, read, embed_dim=embed_dim, temperature=temperature)
    return models.equip(model.to(device, dtype).eval(), joined(seen, read, embed_dim, temperature))  # type: ignore[return-value]


def joined(seen: Any, read: Any, embed_dim: int, temperature: float) -> dict[str, Any]:
    """What a file of the whole would say of itself."""
    parts = {
        "image_encoder": {"class": type(seen).__name__, "arguments": {**seen.about["arguments"], "num_classes": 0}},
        "text_encoder": {"class": "BERT", "arguments": {**read.about["arguments"], "pooler": False}},
    }
    about: dict[str, Any] = {"system": "distilbert_clip", "class": "ProjectedCLIP"}
    about |= {"arguments": {**parts, "embed_dim": embed_dim, "temperature": temperature}}
    if "preprocess" in seen.about:
        about["preprocess"] = seen.about["preprocess"]
    if "tokenizer" in read.about:
        about["tokenizer"] = text_rows(read.about["tokenizer"], len(read.pos))
    return about
