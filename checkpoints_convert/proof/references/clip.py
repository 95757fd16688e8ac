"""CLIP beside open_clip (which kept OpenAI's code and names) and transformers."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, pretrained, random_image


def build_open_clip(*, config: str = "", **sizes: Any) -> nn.Module:
    """open_clip's model; `sizes` are its constructor's, on top of a named config ("ViT-B-32")."""
    from open_clip import get_model_config
    from open_clip.model import CLIP

    known = inspect.signature(CLIP).parameters
    named = get_model_config(config) if config else {}
    return CLIP(**{key: value for key, value in {**named, **sizes}.items() if key in known})


def open_clip_told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell of open_clip's model; its towers' heads are 64 wide unless it says so."""
    told: dict[str, Any] = {"quick_gelu": bool(sizes.get("quick_gelu", False))}
    if "vision_cfg" in sizes:
        vision = sizes["vision_cfg"]
        width = vision["width"] * (32 if isinstance(vision["layers"], (list, tuple)) else 1)
        told |= {"vision_heads": width // vision.get("head_width", 64), "text_heads": sizes["text_cfg"]["heads"]}
    return told


def build_transformers(*, vision: Sizes, text: Sizes, embed_dim: int = 512) -> nn.Module:
    """transformers' CLIPModel; `vision` and `text` are its two configs."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        vision_config={**vision, "projection_dim": embed_dim},
        text_config={"bos_token_id": 0, "eos_token_id": text.get("vocab_size", 49408) - 1, "pad_token_id": 0, **text},
        projection_dim=embed_dim,
        attn_implementation="sdpa",
    )
    return CLIPModel(config)


def transformers_told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell of transformers' model."""
    return {
        "quick_gelu": sizes["vision"].get("hidden_act", "quick_gelu") == "quick_gelu",
        "vision_heads": sizes["vision"].get("num_attention_heads", 12),
        "text_heads": sizes["text"].get("num_attention_heads", 8),
    }


def open_clip_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """open_clip's words for the arguments of ours, a ViT tower."""
    if "patch_size" not in arguments:
        return None
    width, heads = arguments["vision_width"], arguments["vision_heads"]
    vision = {
        "image_size": arguments["image_size"],
        "patch_size": arguments["patch_size"],
        "width": width,
        "layers": arguments["vision_depth"],
        "head_width": width // heads,
        "mlp_ratio": mlp_ratio(arguments["vision_mlp_dim"], width),
    }
    return {**open_clip_text(arguments), "vision_cfg": vision}


def open_clip_resnet_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """The same of a ResNet tower."""
    if "vision_depths" not in arguments:
        return None
    width = arguments["vision_width"]
    vision = {
        "image_size": arguments["image_size"],
        "layers": tuple(arguments["vision_depths"]),
        "width": width,
        "head_width": 32 * width // arguments["vision_heads"],
    }
    return {**open_clip_text(arguments), "vision_cfg": vision}


def open_clip_text(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What both have."""
    width = arguments["text_width"]
    text = {
        "context_length": arguments["context_length"],
        "vocab_size": arguments["vocab_size"],
        "width": width,
        "heads": arguments["text_heads"],
        "layers": arguments["text_depth"],
        "mlp_ratio": mlp_ratio(arguments["text_mlp_dim"], width),
    }
    return {"embed_dim": arguments["embed_dim"], "quick_gelu": arguments["quick_gelu"], "text_cfg": text}


def mlp_ratio(mlp_dim: int | None, width: int) -> float:
    """How many times as wide, for a library that cuts the product to a whole number."""
    return 4.0 if mlp_dim is None else (mlp_dim + 0.5) / width


def transformers_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """transformers' words for the arguments of ours; it has no ResNet tower."""
    if "patch_size" not in arguments:
        return None
    act = {"hidden_act": "quick_gelu" if arguments["quick_gelu"] else "gelu"}
    towers = {
        tower: {
            **act,
            "hidden_size": arguments[f"{tower}_width"],
            "intermediate_size": arguments[f"{tower}_mlp_dim"] or 4 * arguments[f"{tower}_width"],
            "num_hidden_layers": arguments[f"{tower}_depth"],
            "num_attention_heads": arguments[f"{tower}_heads"],
        }
        for tower in ("vision", "text")
    }
    towers["vision"] |= {key: arguments[key] for key in ("image_size", "patch_size")}
    words = {"vocab_size": arguments["vocab_size"], "max_position_embeddings": arguments["context_length"]}
    towers["text"] |= words
    return {**towers, "embed_dim": arguments["embed_dim"]}


def run(model: Any, image: Tensor, ids: Tensor) -> Outputs:
    """Both embeddings, and their cosines times the scale."""
    embeddings = model.encode_image(image), model.encode_text(ids)
    return {"image_embedding": embeddings[0], "text_embedding": embeddings[1], "logits": model.logits(*embeddings)}


def run_open_clip(model: Any, image: Tensor, ids: Tensor) -> Outputs:
    """The same; the last line is what open_clip's README and its `get_logits` do."""
    a, b = model.encode_image(image), model.encode_text(ids)
    logits = model.logit_scale.exp() * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    return {"image_embedding": a, "text_embedding": b, "logits": logits}


def run_transformers(model: Any, image: Tensor, ids: Tensor) -> Outputs:
    """The same; the embeddings before their length is set to one are what the projections put out."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, given, output: seen.__setitem__(name, output)

    hooks = [
        model.visual_projection.register_forward_hook(keep("image_embedding")),
        model.text_projection.register_forward_hook(keep("text_embedding")),
    ]
    answer = model(pixel_values=image, input_ids=ids)
    for hook in hooks:
        hook.remove()
    return {**seen, "logits": answer.logits_per_image}


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures, and texts that end at the context's last place, in its middle with a second end behind, and at once."""
    side, context, end = arguments["image_size"], arguments["context_length"], arguments["vocab_size"] - 1
    ids = torch.randint(1, end - 1, (3, context), generator=generator)
    ids[0, -1] = end
    ids[1, context // 2 :] = 0
    ids[1, context // 2] = ids[1, context // 2 + 2] = end
    ids[2, 1:] = 0
    ids[2, 1] = end
    return {"image": random_image(generator, batch, side, side), "ids": ids}


def first_token(tokens: Tensor) -> Tensor:
    """open_clip normalises all tokens and takes the class token then; ours normalises this one alone."""
    return tokens[:, 0]


TEXT_PAIRS = [("text_tower.blocks.{i}", "transformer.resblocks.{i}"), ("text_tower.norm", "ln_final")]
RESNET_PAIRS = [
    ("image_tower.stem.0.norm", "visual.bn1"),
    ("image_tower.stem.1.norm", "visual.bn2"),
    ("image_tower.stem.2.norm", "visual.bn3"),
    *[(f"image_tower.stages.{stage}.{{i}}", f"visual.layer{stage + 1}.{{i}}") for stage in range(4)],
    ("image_tower.attention_pool", "visual.attnpool"),
]
TINY_TEXT = {"context_length": 9, "vocab_size": 60, "width": 32, "heads": 4, "layers": 2}
TINY_VIT = {"image_size": 24, "patch_size": 8, "width": 48, "head_width": 16, "layers": 3}
TINY_RESNET = {"image_size": 64, "layers": (1, 2, 1, 1), "width": 8, "head_width": 32}
TINY_VISION = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": 24,
    "patch_size": 8,
}
TINY_TRANSFORMERS_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 60,
    "max_position_embeddings": 9,
}


def vit(**changes: Any) -> Trial:
    """The tiny open_clip sizes with some numbers of the image tower changed."""
    return Trial({"vision_cfg": {**TINY_VIT, **changes}}, batch=3)


OPEN_CLIP_TRIALS = {
    "QuickGELU": Trial(batch=3),
    "GELU": Trial({"quick_gelu": False}, batch=3),
    "patch 14, heads of 64": vit(patch_size=14, image_size=28, width=128, head_width=64),
    "patch 16, narrow MLP": vit(patch_size=16, image_size=64, mlp_ratio=2.5),
    "patch 32, one block": vit(patch_size=32, image_size=64, layers=1),
    "long texts": Trial({"text_cfg": {**TINY_TEXT, "context_length": 77, "layers": 1}}, batch=3),
}
GELU = {"hidden_act": "gelu"}
TRANSFORMERS_TRIALS = {
    "QuickGELU": Trial(batch=3),
    "GELU": Trial(
        {"vision": {**TINY_VISION, **GELU}, "text": {**TINY_TRANSFORMERS_TEXT, **GELU}, "embed_dim": 12}, batch=3
    ),
    "patch 14": Trial({"vision": {**TINY_VISION, "patch_size": 14, "image_size": 42}}, batch=3),
    # It has a wrong end-of-text id; transformers then takes the largest id, as OpenAI does.
    "config of 2021": Trial({"text": {**TINY_TRANSFORMERS_TEXT, "eos_token_id": 2}}, batch=3),
}
RESNET_TRIALS = {
    "every stage": Trial(batch=3),
    "deeper, larger": Trial(
        {"vision_cfg": {**TINY_RESNET, "image_size": 96, "layers": (2, 1, 2, 2), "width": 12, "head_width": 24}},
        batch=3,
    ),
    "GELU texts": Trial({"quick_gelu": False}, batch=3),
}


def openai(config: str) -> Sizes:
    """A released size; OpenAI's towers were trained with QuickGELU."""
    return {"config": config, "quick_gelu": True}


def large(image_size: int) -> Sizes:
    """ViT-L/14 in transformers' words."""
    return {
        "vision": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": image_size,
        },
        "text": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "embed_dim": 768,
    }


OPEN_CLIP: dict[str, Any] = {
    "build": build_open_clip,
    "inputs": inputs,
    "run": run,
    "run_reference": run_open_clip,
    "told": open_clip_told,
}
REFERENCES = [
    Reference(
        model="CLIP ViT",
        library="open_clip",
        system="clip",
        format="open_clip",
        sizes=open_clip_sizes,
        **OPEN_CLIP,
        pairs=[
            ("image_tower.norm_pre", "visual.ln_pre"),
            ("image_tower.blocks.{i}", "visual.transformer.resblocks.{i}"),
            ("image_tower.norm_post", "visual.ln_post", first_token),
            *TEXT_PAIRS,
        ],
        tiny={
            "embed_dim": 20,
            "vision_cfg": TINY_VIT,
            "text_cfg": TINY_TEXT,
            "quick_gelu": True,
        },
        trials=OPEN_CLIP_TRIALS,
        official={
            "ViT-B/32": openai("ViT-B-32"),
            "ViT-B/16": openai("ViT-B-16"),
            "ViT-L/14": openai("ViT-L-14"),
            "ViT-L/14@336px": openai("ViT-L-14-336"),
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": {"config": "ViT-B-32"},
        },
    ),
    Reference(
        model="CLIP ViT",
        library="transformers",
        system="clip",
        format="transformers",
        build=build_transformers,
        inputs=inputs,
        run=run,
        run_reference=run_transformers,
        pairs=[
            ("image_tower.norm_pre", "vision_model.pre_layrnorm"),
            ("image_tower.blocks.{i}", "vision_model.encoder.layers.{i}"),
            ("image_tower.norm_post", "vision_model.post_layernorm"),
            ("text_tower.blocks.{i}", "text_model.encoder.layers.{i}"),
            ("text_tower.norm", "text_model.final_layer_norm"),
        ],
        told=transformers_told,
        sizes=transformers_sizes,
        tiny={"vision": TINY_VISION, "text": TINY_TRANSFORMERS_TEXT, "embed_dim": 20},
        trials=TRANSFORMERS_TRIALS,
        official={
            "openai/clip-vit-base-patch32": {"vision": {}, "text": {}},
            "openai/clip-vit-base-patch16": {"vision": {"patch_size": 16}, "text": {}},
            "openai/clip-vit-large-patch14": large(224),
            "openai/clip-vit-large-patch14-336": large(336),
        },
        open=pretrained,
    ),
    Reference(
        model="CLIP ResNet",
        library="open_clip",
        system="clip",
        format="open_clip_resnet",
        sizes=open_clip_resnet_sizes,
        **OPEN_CLIP,
        pairs=[*RESNET_PAIRS, *TEXT_PAIRS],
        tiny={
            "embed_dim": 20,
            "vision_cfg": TINY_RESNET,
            "text_cfg": TINY_TEXT,
            "quick_gelu": True,
        },
        trials=RESNET_TRIALS,
        official={name: openai(name) for name in ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")},
    ),
]
