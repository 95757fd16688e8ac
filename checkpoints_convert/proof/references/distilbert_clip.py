"""A CLIP of two ready encoders beside timm's image encoder and transformers' DistilBERT under official names.

No library has the whole; github.com/moein-shariatnia/OpenAI-CLIP puts it together from the same two. The class below is
ours, with that repository's names; its own numbers are the golden case of heads, text and loss.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, random_image
from checkpoints_convert.proof.references import bert as bert_reference
from checkpoints_convert.proof.references import resnet as resnet_reference
from checkpoints_convert.proof.references import vit as vit_reference


class Projection(nn.Module):
    """A head by its official names."""

    def __init__(self, width: int, embed_dim: int):
        super().__init__()
        self.projection, self.fc = nn.Linear(width, embed_dim), nn.Linear(embed_dim, embed_dim)
        self.gelu, self.dropout, self.layer_norm = nn.GELU(), nn.Dropout(0.1), nn.LayerNorm(embed_dim)

    def forward(self, features: Tensor) -> Tensor:
        projected = self.projection(features)
        return self.layer_norm(self.dropout(self.fc(self.gelu(projected))) + projected)


class Holder(nn.Module):
    """An encoder lies one name deeper: image_encoder.model."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model


class CLIPModel(nn.Module):
    """Two libraries' encoders and the heads; the loss spelled out, a row at a time."""

    def __init__(self, image: Any, text: Any, embed_dim: int, temperature: float):
        super().__init__()
        self.image_encoder, self.text_encoder = Holder(image), Holder(text)
        self.image_projection = Projection(image.num_features, embed_dim)
        self.text_projection = Projection(text.config.dim, embed_dim)
        self.temperature = temperature

    def embed(self, image: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings; padding has the id 0."""
        answer = self.text_encoder.model(input_ids=ids, attention_mask=(ids != 0).long())
        text = self.text_projection(answer.last_hidden_state[:, 0, :])
        return self.image_projection(self.image_encoder.model(image)), text

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """Texts choose pictures, and pictures texts by the transposed targets."""
        total = torch.zeros((), dtype=image.dtype, device=image.device)
        alike = 0.5 * (image @ image.T + text @ text.T) * self.temperature
        targets = torch.stack([F.softmax(row, dim=0) for row in alike])
        logits = (text @ image.T) / self.temperature
        for n in range(len(logits)):
            total = total - (targets[n] * F.log_softmax(logits[n], dim=0)).sum()
            total = total - (targets[:, n] * F.log_softmax(logits[:, n], dim=0)).sum()
        return total / (2 * len(logits))


def build(
    *,
    vit: Sizes | None = None,
    resnet: Sizes | None = None,
    bert: Sizes,
    embed_dim: int = 256,
    temperature: float = 1.0,
) -> nn.Module:
    """The whole, from either image encoder's sizes in its library's words, and DistilBertConfig's."""
    if vit is not None:
        image = vit_reference.build_timm(**{"num_classes": 0, "global_pool": "avg", **vit})
    else:
        image = resnet_reference.build_timm(**{"num_classes": 0, **(resnet or {})})
    text = bert_reference.build_distilbert(**bert)
    return CLIPModel(image, text, embed_dim, temperature)


def told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell."""
    known = {"text_heads": sizes["bert"].get("n_heads", 12), "temperature": sizes.get("temperature", 1.0)}
    if sizes.get("vit") is None:
        return known
    seen = {"vision_heads" if key == "num_heads" else key: value for key, value in vit_told(sizes["vit"]).items()}
    return {**known, **seen}


def vit_told(sizes: Sizes) -> dict[str, Any]:
    """Of timm's ViT, which the official code has pool the mean."""
    return vit_reference.timm_told({"global_pool": "avg", **sizes})


def shared_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """The libraries' words for all but the image encoder, which has no head."""
    bert = bert_reference.distilbert_sizes(arguments["text_encoder"]["arguments"])
    if bert is None or arguments["image_encoder"]["arguments"]["num_classes"]:
        return None
    return {"bert": bert, **{key: arguments[key] for key in ("embed_dim", "temperature")}}


def vit_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """With timm's words for a ViT."""
    image, others = arguments["image_encoder"], shared_sizes(arguments)
    if image["class"] != "ViT" or others is None:
        return None
    return {"vit": vit_reference.timm_sizes(image["arguments"]), **others}


def resnet_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """With timm's words for a ResNet, whose first map has 64 channels."""
    image, others = arguments["image_encoder"], shared_sizes(arguments)
    if image["class"] != "ResNet" or others is None or image["arguments"]["width"] != 64:
        return None
    return {"resnet": {key: image["arguments"][key] for key in ("depths", "bottleneck")}, **others}


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """As many texts as pictures, padded to one length; of three or more the third is one word."""
    image = arguments["image_encoder"]["arguments"]
    ids = torch.randint(1, arguments["text_encoder"]["arguments"]["vocab_size"], (batch, 11), generator=generator)
    ids[1::3, 7:], ids[2::3, 3:] = 0, 0
    return {"image": random_image(generator, batch, *image.get("image_size", (64, 96))), "ids": ids}


def run(model: Any, image: Tensor, ids: Tensor) -> Outputs:
    """Embeddings, logits, the loss."""
    from minimodels.projected_clip import soft_target_loss

    seen, read = model.encode_image(image), model.encode_text(ids)
    loss = soft_target_loss(seen, read, model.temperature)
    return {"image embedding": seen, "text embedding": read, "logits": model(image, ids), "loss": loss}


def run_reference(model: Any, image: Tensor, ids: Tensor) -> Outputs:
    """The same."""
    seen, read = model.embed(image, ids)
    return {
        "image embedding": seen,
        "text embedding": read,
        "logits": seen @ read.T / model.temperature,
        "loss": model.loss(seen, read),
    }


TINY_BERT: dict[str, Any] = {
    "dim": 24,
    "n_layers": 2,
    "n_heads": 3,
    "hidden_dim": 40,
    "vocab_size": 50,
    "max_position_embeddings": 14,
}
TINY_VIT: dict[str, Any] = {"img_size": (32, 32), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
TINY_RESNET: dict[str, Any] = {"depths": [1, 1, 1, 1], "bottleneck": True}
HEADS = [
    pair
    for side in ("image", "text")
    for pair in (
        (f"{side}_tower.proj.fc1", f"{side}_projection.projection"),
        (f"{side}_tower.proj", f"{side}_projection"),
    )
]
WORDS = [
    ("text_tower.encoder.norm", "text_encoder.model.embeddings.LayerNorm"),
    ("text_tower.encoder.blocks.{i}", "text_encoder.model.transformer.layer.{i}"),
    *HEADS,
]
SHARED: dict[str, Any] = {
    "library": "OpenAI-CLIP",
    "system": "distilbert_clip",
    "format": "OpenAI-CLIP",
    "build": build,
    "inputs": inputs,
    "run": run,
    "run_reference": run_reference,
    "told": told,
}
REFERENCES = [
    Reference(
        model="Projected CLIP, ViT",
        **SHARED,
        sizes=vit_sizes,
        tiny={"vit": TINY_VIT, "bert": TINY_BERT, "embed_dim": 20},
        trials={
            "batch 3": Trial(batch=3),
            "temperature 2.5, batch 4": Trial({"temperature": 2.5}, batch=4),
            "class token": Trial({"vit": {**TINY_VIT, "global_pool": "token"}}, batch=3),
            "oblong pictures, other widths": Trial(
                {"vit": {**TINY_VIT, "img_size": (16, 40), "embed_dim": 32, "num_heads": 2}, "embed_dim": 9}, batch=3
            ),
        },
        pairs=[("image_tower.encoder.blocks.{i}", "image_encoder.model.blocks.{i}"), *WORDS],
    ),
    Reference(
        model="Projected CLIP, ResNet",
        **SHARED,
        sizes=resnet_sizes,
        tiny={"resnet": TINY_RESNET, "bert": TINY_BERT, "embed_dim": 20},
        trials={
            "bottlenecks": Trial(batch=3),
            "basic blocks, temperature 0.5": Trial(
                {"resnet": {"depths": [2, 1, 1, 1], "bottleneck": False}, "temperature": 0.5}, batch=3
            ),
        },
        pairs=[
            ("image_tower.encoder.stem.norm", "image_encoder.model.bn1"),
            *((f"image_tower.encoder.stages.{n}.{{i}}", f"image_encoder.model.layer{n + 1}.{{i}}") for n in range(4)),
            *WORDS,
        ],
    ),
]
