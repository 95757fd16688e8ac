"""The golden case of a CLIP of two ready encoders: DistilBERT, both heads, the loss with its soft targets."""

import torch
from torch import Tensor

from checkpoints_convert import build
from minimodels import projected_clip
from tests.golden import Case, Line

NAMES = {"projection": "fc1", "fc": "fc2", "layer_norm": "norm"}  # of a head, official and ours


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def head(tensors: dict[str, Tensor], prefix: str) -> projected_clip.ProjectionHead:
    """One projection head, its dropout off."""
    official = part(tensors, prefix)
    ours = {f"{NAMES[name.split('.')[0]]}.{name.split('.')[1]}": tensor for name, tensor in official.items()}
    embed_dim, width = ours["fc1.weight"].shape
    made = projected_clip.ProjectionHead(width, embed_dim).double().eval()
    made.load_state_dict(ours)
    return made


def run_head_loss(case: Case, device: torch.device) -> list[Line]:
    """Text features, both embeddings, the loss at both temperatures."""
    tensors, config = case.checkpoint(), case.config
    bert = build(part(tensors, "text_encoder.model."), "bert", num_heads=config["text_heads"]).to(device)
    ids, mask = (case.tensor(f"in.{name}").long().to(device) for name in ("input_ids", "attention_mask"))
    features = bert(ids, mask)[:, 0]
    image = head(tensors, "image_projection.").to(device)(case.tensor("in.image", torch.float64).to(device))
    text = head(tensors, "text_projection.").to(device)(features)
    return case.judge(
        {
            "out.text_features": features,
            "out.image_embeddings": image,
            "out.text_embeddings": text,
            "out.loss": projected_clip.soft_target_loss(image, text, config["temperature"]),
            "out.loss_other_temperature": projected_clip.soft_target_loss(image, text, config["other_temperature"]),
        }
    )


KINDS = {"head_loss": run_head_loss}
ROWS = {"head_loss": "projected CLIP"}
