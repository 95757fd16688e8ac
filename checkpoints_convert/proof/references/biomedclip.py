"""BiomedCLIP beside open_clip's CustomTextCLIP, which joins timm's ViT and transformers' BERT."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.references import Reference, Sizes, Trial, random_image
from checkpoints_convert.proof.references.bert import bert_sizes
from checkpoints_convert.proof.references.clip import run, run_open_clip

TIMM: dict[str, dict[str, Any]] = {  # its models that are built here, in our words
    "test_vit": {"image_size": 160, "embed_dim": 64, "depth": 6, "num_heads": 2, "mlp_dim": 192},
    "vit_base_patch16_224": {"image_size": 224, "embed_dim": 768, "depth": 12, "num_heads": 12, "mlp_dim": 3072},
}


def build_open_clip(*, timm: str, bert: Sizes, embed_dim: int = 512) -> nn.Module:
    """open_clip's model, empty: `timm` names the image encoder, which has its own size; `bert` is BERT's config."""
    from open_clip.model import CustomTextCLIP

    vision = {"timm_model_name": timm, "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"}
    with folder_of(bert) as folder:
        text = {"hf_model_name": str(folder), "hf_model_pretrained": False, "hf_proj_type": "mlp"}
        text |= {"hf_pooler_type": "cls_last_hidden_state_pooler"}
        return CustomTextCLIP(embed_dim=embed_dim, vision_cfg=vision, text_cfg=text)


@contextmanager
def folder_of(bert: Sizes) -> Iterator[Path]:
    """open_clip asks transformers for the text encoder's config by name: here the name of a folder that has one."""
    with tempfile.TemporaryDirectory() as name:
        usual = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0}
        Path(name, "config.json").write_text(json.dumps({**usual, **bert}), encoding="utf-8")
        before = os.environ.get("HF_HUB_OFFLINE")
        os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            yield Path(name)
        finally:
            del os.environ["HF_HUB_OFFLINE"]
            if before is not None:
                os.environ["HF_HUB_OFFLINE"] = before


def told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell."""
    return {
        "vision_heads": TIMM[sizes["timm"]]["num_heads"],
        "text_heads": sizes["bert"].get("num_attention_heads", 12),
    }


def sizes_of(arguments: Mapping[str, Any]) -> Sizes | None:
    """open_clip's words for the arguments of ours; its image encoder is one of timm's, by name."""
    vit, bert = arguments["vit"]["arguments"], arguments["bert"]["arguments"]
    for name, known in TIMM.items():
        side = known["image_size"]
        plain = {"patch_size": 16, "num_classes": 0, "class_token": True, "mean_pool": False, "norm_after_pool": False}
        wanted: dict[str, Any] = {
            **known,
            **plain,
            "image_size": (side, side),
            "qkv_bias": True,
            "norm_eps": 1e-6,
            "antialias": True,
        }
        text = dict(bert_sizes(bert) or {})
        if wanted == {**vit, "image_size": tuple(vit["image_size"])} and text and not text.pop("pooler"):
            return {"timm": name, "bert": text, "embed_dim": arguments["embed_dim"]}
    return None


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures, and texts of three lengths in one batch: padding has the id 0."""
    image_size, bert = arguments["vit"]["arguments"]["image_size"], arguments["bert"]["arguments"]
    ids = torch.randint(1, bert["vocab_size"], (3, 11), generator=generator)
    ids[1, 7:], ids[2, 1:] = 0, 0
    return {"image": random_image(generator, batch, *image_size), "ids": ids}


TINY_BERT: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
}
REFERENCES = [
    Reference(
        model="BiomedCLIP",
        library="open_clip",
        system="biomedclip",
        format="open_clip",
        build=build_open_clip,
        inputs=inputs,
        run=run,
        run_reference=run_open_clip,
        pairs=[
            ("image_tower.vit.blocks.{i}", "visual.trunk.blocks.{i}"),
            ("image_tower.vit.norm", "visual.trunk.norm"),
            ("text_tower.bert.blocks.{i}", "text.transformer.encoder.layer.{i}"),
            ("text_tower.activation", "text.proj.1"),
        ],
        told=told,
        sizes=sizes_of,
        tiny={"timm": "test_vit", "bert": TINY_BERT, "embed_dim": 24},
        trials={
            "small": Trial(batch=3),
            "odd width in the middle": Trial({"embed_dim": 7, "bert": {**TINY_BERT, "hidden_size": 24}}),
            "one layer of words": Trial({"bert": {**TINY_BERT, "num_hidden_layers": 1, "max_position_embeddings": 11}}),
        },
        official={
            "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224": {
                "timm": "vit_base_patch16_224",
                "bert": {},
            }
        },
    )
]
