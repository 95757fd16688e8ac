"""BiomedCLIP's golden cases: open_clip's model of timm's and transformers' encoders, and the released names."""

from typing import Any

import torch
from torch import Tensor

from checkpoints_convert import build
from tests.golden import Case, Line, take


def heads(case: Case) -> dict[str, Any]:
    """What shapes do not tell."""
    text = case.config["text"]
    return {
        "vision_heads": case.config["vision"]["heads"],
        "text_heads": text.get("num_attention_heads", text.get("heads")),
    }


def run_model(case: Case, device: torch.device) -> list[Line]:
    """Both features, logits, the scale, and blocks: their first tokens are stored."""
    model: Any = build(case.checkpoint(), "biomedclip", **heads(case)).to(device)
    size = case.config["vision"]["image"]
    coarse = case.tensor("in.coarse", torch.float64).to(device)
    image = coarse.repeat_interleave(size // coarse.shape[-2], -2).repeat_interleave(size // coarse.shape[-1], -1)
    ids = case.tensor("in.ids").long().to(device)
    seen: dict[str, Tensor] = {}
    blocks = {f"out.vision.block{n}": block for n, block in enumerate(model.image_tower.vit.blocks)}
    blocks |= {f"out.text.layer{n}": block for n, block in enumerate(model.text_tower.bert.blocks)}
    for name, block in blocks.items():
        block.register_forward_hook(lambda module, given, output, name=name: seen.__setitem__(name, output))
    answers = {"out.image_features": model.encode_image(image), "out.text_features": model.encode_text(ids)}
    answers |= {"out.logits_per_image": model(image, ids), "out.scale": model.logit_scale.exp()}
    stored = {name: case.arrays[name].shape[1] for name in seen if name in case.arrays}
    return case.judge({**answers, **{name: seen[name][:, :count] for name, count in stored.items()}})


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """The converter takes every official name, and our model has the official number of parameters."""
    return take(case, lambda tensors: build(tensors, "biomedclip", **heads(case)))[0]


KINDS = {"model": run_model, "keys": run_keys}
ROWS = {"tiny": "BiomedCLIP"}
