"""CLIPS and CLIPA beside open_clip's own CLIP class, which their configurations turn into them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from checkpoints_convert.proof.references import Reference, Sizes, Trial, random_image
from checkpoints_convert.proof.references.clip import build_open_clip, open_clip_sizes, run, run_open_clip

EPS = {"norm_kwargs": {"eps": 1e-6}}
TANH = {"act_kwargs": {"approximate": "tanh"}}
MEAN_POOLED: dict[str, Any] = {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
LAST_TOKEN: dict[str, Any] = {"pool_type": "last", "no_causal_mask": True}


def told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell."""
    vision, text = sizes["vision_cfg"], sizes["text_cfg"]
    return {
        "vision_heads": vision["width"] // vision.get("head_width", 64),
        "text_heads": text["heads"],
        "norm_eps": text.get("norm_kwargs", {}).get("eps", 1e-5),
        "tanh_gelu": "act_kwargs" in text,
    }


def sizes_of(arguments: Mapping[str, Any]) -> Sizes | None:
    """open_clip's words for the arguments of ours."""
    found = open_clip_sizes({**arguments, "quick_gelu": False})
    if found is None:
        return None
    norm = {"norm_kwargs": {"eps": arguments["norm_eps"]}}
    vision = {**found["vision_cfg"], **MEAN_POOLED, **norm}
    text = {**found["text_cfg"], **LAST_TOKEN, **norm, **(TANH if arguments["tanh_gelu"] else {})}
    return {**found, "vision_cfg": vision, "text_cfg": text}


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures, and whole rows of ids: the last place counts, whatever stands there."""
    side, context = arguments["image_size"], arguments["context_length"]
    ids = torch.randint(0, arguments["vocab_size"], (3, context), generator=generator)
    ids[0, context // 2 : -1] = 0
    return {"image": random_image(generator, batch, side, side), "ids": ids}


TINY_VISION: dict[str, Any] = {
    **MEAN_POOLED,
    **EPS,
    "image_size": 24,
    "patch_size": 8,
    "width": 48,
    "head_width": 16,
    "layers": 3,
}
TINY_TEXT: dict[str, Any] = {
    **LAST_TOKEN,
    **EPS,
    **TANH,
    "context_length": 9,
    "vocab_size": 60,
    "width": 32,
    "heads": 4,
    "layers": 2,
}


def clipa(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """CLIPA: epsilon 1e-5, exact GELU."""
    return {key: value for key, value in cfg.items() if key not in ("norm_kwargs", "act_kwargs")}


def released(config: str, vision: Sizes, text: Sizes) -> Sizes:
    """A released CLIPS: one of open_clip's named configurations and what CLIPS has otherwise."""
    return {
        "config": config,
        "vision_cfg": {**MEAN_POOLED, **EPS, "patch_size": 14, **vision},
        "text_cfg": {**LAST_TOKEN, **EPS, **TANH, "context_length": 80, "vocab_size": 32000, **text},
    }


LARGE_VISION, LARGE_TEXT = {"layers": 24, "width": 1024}, {"width": 768, "heads": 12, "layers": 12}
HUGE = {"layers": 32, "width": 1280, "head_width": 80}, {"width": 1024, "heads": 16, "layers": 24}
HUB = "UCSC-VLAA/ViT-{}-Recap-DataComp-1B"
REFERENCES = [
    Reference(
        model="CLIPS",
        library="open_clip",
        system="clips",
        format="open_clip",
        build=build_open_clip,
        inputs=inputs,
        run=run,
        run_reference=run_open_clip,
        pairs=[
            ("image_tower.blocks.{i}", "visual.transformer.resblocks.{i}"),
            ("image_tower.norm_post", "visual.ln_post"),
            ("text_tower.blocks.{i}", "transformer.resblocks.{i}"),
            ("text_tower.norm", "ln_final"),
        ],
        told=told,
        sizes=sizes_of,
        tiny={"embed_dim": 20, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT},
        trials={
            "CLIPS": Trial(batch=3),
            "CLIPA": Trial({"vision_cfg": clipa(TINY_VISION), "text_cfg": clipa(TINY_TEXT)}, batch=3),
            "patch 14, narrow MLP": Trial(
                {"vision_cfg": {**TINY_VISION, "patch_size": 14, "image_size": 42, "mlp_ratio": 2.5}}, batch=2
            ),
            "long texts": Trial({"text_cfg": {**TINY_TEXT, "context_length": 80, "layers": 1}}),
        },
        official={
            HUB.format("L-14-CLIPS-224"): released("ViT-L-14", {**LARGE_VISION, "image_size": 224}, LARGE_TEXT),
            HUB.format("L-14-CLIPS"): released("ViT-L-14", {**LARGE_VISION, "image_size": 336}, LARGE_TEXT),
            HUB.format("H-14-CLIPS-224"): released("ViT-H-14", {**HUGE[0], "image_size": 224}, HUGE[1]),
        },
    )
]
