"""FALIP's golden cases: foveal masks in both grids, and a CLIP that is told where to look."""

from typing import Any

import torch
from torch import Tensor

from checkpoints_convert import build
from minimodels import falip
from tests.golden import Case, Line


def run_mask(case: Case, device: torch.device) -> list[Line]:
    """One row of the mask a box; the official float32 is shown."""
    size, patch, sigma = (case.config[key] for key in ("size", "patch", "sigma"))
    rows = [
        falip.foveal_masks([box.tolist()], (int(height), int(width)), size, patch, float(alpha), float(sigma))
        for box, (width, height), alpha in zip(*(case.tensor(f"in.{key}") for key in ("box_xyxy", "image_wh", "alpha")))
    ]
    masks = torch.cat(rows)
    return case.judge({"out.mask_row0": masks, "f32.mask_row0": masks.float()})


def run_model(case: Case, device: torch.device) -> list[Line]:
    """Features of each box, of none, the class token's attention, scores, and what is left of them after a bank's."""
    config = case.config
    heads = {"vision_heads": config["vision_width"] // 64, "text_heads": config["text_heads"], "quick_gelu": True}
    clip: Any = build(case.checkpoint(), "clip", **heads).to(device)
    model = falip.FoveatedCLIP(clip)
    small = case.tensor("in.image_14", torch.float64).to(device)
    image = small.repeat_interleave(config["patch"], -2).repeat_interleave(config["patch"], -1)
    masks = case.tensor("in.mask_row0", torch.float64).to(device)
    features, texts = model.encode_image(image, masks), clip.encode_text(case.tensor("in.text").long().to(device))
    scores = model.scores(features, texts)
    subtracted = falip.subtract(scores[:1], scores[1:])
    none = model.encode_image(image, torch.zeros_like(masks[:1]))
    computed: dict[str, Tensor] = {
        "out.image_features": features,
        "out.image_features_zero_mask": none,
        "out.attn_cls_last": model.attention(image, masks[-1:]).mean(dim=1),
        "out.text_features": texts,
        "out.logits_per_text": scores,
        "out.scores": scores[0],
        "out.probs": scores[0].softmax(dim=-1),
        "out.subtracted": subtracted,
        "out.probs_subtracted": subtracted[0].softmax(dim=-1),
    }
    return case.judge(computed)


KINDS = {"mask": run_mask, "model": run_model}
ROWS = {
    "mask_base16": "FALIP masks",
    "mask_large14": "FALIP masks",
    "clip_masked": "FALIP",
    "clip_masked_strong": "FALIP",
}
