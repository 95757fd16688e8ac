"""ViT beside timm's VisionTransformer and transformers' ViT."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, pretrained, random_image


def build_timm(**sizes: Any) -> nn.Module:
    """timm's model; `sizes` are its constructor's."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(**sizes)


def timm_told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell of timm's model."""
    size = sizes.get("img_size", 224)
    return {
        "num_heads": sizes["num_heads"],
        "image_size": size if isinstance(size, tuple) else (size, size),
        "mean_pool": sizes.get("global_pool", "token") == "avg",
    }


def build_transformers(*, head: bool = True, **sizes: Any) -> nn.Module:
    """transformers' classifier, or its backbone alone; `sizes` are ViTConfig's."""
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    config = ViTConfig(**sizes, attn_implementation="sdpa")
    return ViTForImageClassification(config) if head else ViTModel(config, add_pooling_layer=False)


def transformers_told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell of transformers' model."""
    size = sizes.get("image_size", 224)
    return {
        "num_heads": sizes["num_attention_heads"],
        "image_size": tuple(size) if isinstance(size, (tuple, list)) else (size, size),
        "norm_eps": sizes.get("layer_norm_eps", 1e-12),
    }


def timm_sizes(arguments: Mapping[str, Any]) -> Sizes:
    """timm's words for the arguments of ours."""
    alike = ("patch_size", "embed_dim", "depth", "num_heads", "num_classes", "class_token", "qkv_bias")
    return {key: arguments[key] for key in alike} | {
        "img_size": tuple(arguments["image_size"]),
        "mlp_ratio": (arguments["mlp_dim"] + 0.5) / arguments["embed_dim"],  # cut to a whole number there
        "global_pool": "avg" if arguments["mean_pool"] else "token",
        "fc_norm": arguments["norm_after_pool"],
        "norm_layer": partial(nn.LayerNorm, eps=arguments["norm_eps"]),
    }


def transformers_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """transformers' words for them; it pools by the class token alone."""
    if arguments["mean_pool"] or not arguments["class_token"]:
        return None
    return {
        "image_size": tuple(arguments["image_size"]),
        "patch_size": arguments["patch_size"],
        "hidden_size": arguments["embed_dim"],
        "num_hidden_layers": arguments["depth"],
        "num_attention_heads": arguments["num_heads"],
        "intermediate_size": arguments["mlp_dim"],
        "qkv_bias": arguments["qkv_bias"],
        "layer_norm_eps": arguments["norm_eps"],
        **({"num_labels": arguments["num_classes"]} if arguments["num_classes"] else {"head": False}),
    }


def run(model: Any, image: Tensor) -> Outputs:
    """Class scores, or pooled features where there is no head."""
    return {"logits": model(image)}


def run_transformers(model: Any, image: Tensor) -> Outputs:
    """The same; another size than the trained one is asked for by name, a backbone alone leaves the pooling to us."""
    backbone = getattr(model, "vit", model)
    resize = tuple(image.shape[-2:]) != tuple(backbone.embeddings.image_size)
    answer = model(image, interpolate_pos_encoding=resize)
    return {"logits": answer.last_hidden_state[:, 0] if backbone is model else answer.logits}


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures of the trained size."""
    return {"image": random_image(generator, batch, *arguments["image_size"])}


def augreg(embed_dim: int, depth: int, num_heads: int) -> dict[str, int]:
    """One of Steiner et al.'s sizes, in timm's words."""
    return {"embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}


MEAN = {"global_pool": "avg"}
TIMM_TRIALS = {
    "patch 8, class token": Trial(batch=3),
    "patch 14, mean of the patches, norm behind it": Trial({**MEAN, "patch_size": 14, "img_size": (28, 42)}, batch=3),
    "patch 16, mean, norm before it": Trial(
        {**MEAN, "patch_size": 16, "img_size": (48, 32), "fc_norm": False}, batch=3
    ),
    "patch 32, no class token": Trial({**MEAN, "patch_size": 32, "img_size": (64, 96), "class_token": False}, batch=3),
    "no class token, norm before the mean": Trial({**MEAN, "class_token": False, "fc_norm": False}, batch=3),
    "no head": Trial({"num_classes": 0}, batch=3),
    "no head, mean": Trial({**MEAN, "num_classes": 0}, batch=3),
    "no bias in q, k, v": Trial({"qkv_bias": False, "mlp_ratio": 1.5}, batch=3),
    "one head, one block": Trial({"num_heads": 1, "depth": 1}, batch=3),
}
# interpolate_pos_encoding never smooths. 16 x 64 has as many patches as the trained 32 x 32; resized it is.
OTHER_SIZES = ((32, 32), (16, 64), (24, 40), (48, 8), (64, 72))
TRANSFORMERS_TRIALS = {
    "classifier": Trial(batch=3),
    "patch 14": Trial({"patch_size": 14, "image_size": (42, 28)}, batch=3),
    "patch 32, square": Trial({"patch_size": 32, "image_size": 64}, batch=3),
    "no bias in q, k, v": Trial({"qkv_bias": False}, batch=3),
    "another epsilon": Trial({"layer_norm_eps": 1e-6}, batch=3),
    **{f"{size[0]} x {size[1]} for 32 x 32": Trial({"image_size": 32}, image_size=size) for size in OTHER_SIZES},
}

REFERENCES = [
    Reference(
        model="ViT",
        library="timm",
        system="vit",
        format="timm",
        build=build_timm,
        inputs=inputs,
        run=run,
        run_reference=run,
        pairs=[("blocks.{i}", "blocks.{i}"), ("norm", "norm"), ("pool_norm", "fc_norm"), ("head", "head")],
        told=timm_told,
        sizes=timm_sizes,
        tiny={"img_size": (16, 24), "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5},
        trials=TIMM_TRIALS,
        official={
            "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k": augreg(192, 12, 3),
            "timm/vit_small_patch16_224.augreg_in21k_ft_in1k": augreg(384, 12, 6),
            "timm/vit_base_patch16_224.augreg_in21k_ft_in1k": augreg(768, 12, 12),
            "timm/vit_large_patch16_224.augreg_in21k_ft_in1k": augreg(1024, 24, 16),
        },
    ),
    Reference(
        model="ViT",
        library="transformers",
        system="vit",
        format="transformers_v5",
        build=build_transformers,
        inputs=inputs,
        run=run,
        run_reference=run_transformers,
        pairs=[("blocks.{i}", "vit.layers.{i}"), ("norm", "vit.layernorm"), ("head", "classifier")],
        told=transformers_told,
        sizes=transformers_sizes,
        tiny={
            "image_size": (16, 24),
            "patch_size": 8,
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "num_labels": 5,
            "num_attention_heads": 3,
            "intermediate_size": 40,
        },
        trials=TRANSFORMERS_TRIALS,
        official={
            "google/vit-base-patch16-224": {
                "hidden_size": 768,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "num_labels": 1000,
            }
        },
        open=pretrained,
    ),
]
