"""Swin beside timm's SwinTransformer and transformers' Swin, and the segmentation flavour beside its SwinBackbone."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from checkpoints_convert.proof.compare import Pair
from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, pretrained, random_image
from checkpoints_convert.tables import swin


def build_timm(**sizes: Any) -> nn.Module:
    """timm's model; `sizes` are its constructor's."""
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(**sizes)


def timm_told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell of timm's model."""
    size = sizes.get("img_size", 224)
    return {"image_size": size if isinstance(size, tuple) else (size, size)}


def build_transformers(*, head: bool = True, **sizes: Any) -> nn.Module:
    """transformers' classifier, or its body alone; `sizes` are SwinConfig's."""
    from transformers import SwinConfig, SwinForImageClassification, SwinModel

    config = SwinConfig(**sizes, attn_implementation="sdpa")
    return SwinForImageClassification(config) if head else SwinModel(config)


def build_backbone(**sizes: Any) -> nn.Module:
    """transformers' SwinBackbone, with the maps of all stages."""
    from transformers import SwinBackbone, SwinConfig

    names = [f"stage{at + 1}" for at in range(len(sizes.get("depths", (2, 2, 6, 2))))]
    return SwinBackbone(SwinConfig(**sizes, out_features=names, attn_implementation="sdpa"))


def transformers_told(sizes: Sizes) -> dict[str, Any]:
    """What shapes do not tell of transformers' model."""
    size = sizes.get("image_size", 224)
    return {"image_size": tuple(size) if isinstance(size, (tuple, list)) else (size, size)}


def timm_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """timm's words for the arguments of ours; it has no model that gives maps, and pads them in another way."""
    if not swin.timm_class(arguments):
        return None
    alike = ("patch_size", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio", "num_classes")
    return {key: listed(arguments[key]) for key in alike} | {"img_size": tuple(arguments["image_size"])}


def transformers_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """transformers' words for them. Its tokens do not say how they lie: square pictures are compared."""
    if not swin.classifier(arguments) or len(set(arguments["image_size"])) > 1:
        return None
    head = {"num_labels": arguments["num_classes"]} if arguments["num_classes"] else {"head": False}
    return {**body_sizes(arguments), "image_size": arguments["image_size"][0], **head}


def backbone_sizes(arguments: Mapping[str, Any]) -> Sizes | None:
    """The same of its backbone, which has one window for all stages and a norm behind each."""
    maps = arguments.get("output_norms") and isinstance(arguments["window_size"], int)
    return body_sizes(arguments) if maps else None


def body_sizes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What both have."""
    alike = ("patch_size", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio")
    return {key: listed(arguments[key]) for key in alike}


def listed(value: Any) -> Any:
    """Numbers of the stages as the libraries take them."""
    return list(value) if isinstance(value, (tuple, list)) else value


def run(model: Any, image: Tensor) -> Outputs:
    """Class scores, or pooled features where there is no head."""
    return {"logits": model(image)}


def run_transformers(model: Any, image: Tensor) -> Outputs:
    """The same; a body alone pools too."""
    answer = model(image)
    return {"logits": answer.logits if "logits" in answer else answer.pooler_output}


def run_maps(model: Any, image: Tensor) -> Outputs:
    """The map of every stage, channels last."""
    return {f"map {at + 1}": features for at, features in enumerate(model(image))}


def run_backbone(model: Any, image: Tensor) -> Outputs:
    """The same of transformers' backbone, which puts channels first."""
    maps = model(image).feature_maps
    return {f"map {at + 1}": rearrange(features, "b d h w -> b h w d") for at, features in enumerate(maps)}


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures of the trained size."""
    return {"image": random_image(generator, batch, *arguments["image_size"])}


def odd_inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures whose sides divide by nothing: whole patches, windows and pairs of tokens all need padding."""
    return {"image": random_image(generator, batch, 37, 37)}


def square_map(tokens: Tensor) -> Tensor:
    """transformers' (B, h*w, D) -> (B, h, w, D), where h = w."""
    return rearrange(tokens, "b (h w) d -> b h w d", h=round(tokens.shape[1] ** 0.5))


def timm_pairs(stages: int = 4) -> list[Pair]:
    """Every block and merge in order, the last norm."""
    pairs: list[Pair] = [("patch_norm", "patch_embed.norm", lambda x: x.flatten(1, 2))]
    for at in range(stages):
        pairs += [(f"stages.{at - 1}.merge", f"layers.{at}.downsample")] if at else []
        pairs.append((f"stages.{at}.blocks.{{i}}", f"layers.{at}.blocks.{{i}}"))
    return [*pairs, ("norm", "norm")]


def transformers_pairs(stages: int = 4, as_map: Callable[[Tensor], Tensor] = square_map) -> list[Pair]:
    """The same; transformers' tokens do not say how they lie, `as_map` does."""
    pairs: list[Pair] = [("patch_norm", "swin.embeddings.norm")]
    for at in range(stages):
        pairs.append((f"stages.{at}.blocks.{{i}}", f"swin.encoder.layers.{at}.blocks.{{i}}", as_map))
        if at + 1 < stages:
            pairs.append((f"stages.{at}.merge", f"swin.encoder.layers.{at}.downsample", as_map))
    return [*pairs, ("norm", "swin.layernorm", as_map)]


TIMM_TINY = {"img_size": 32, "patch_size": 2, "window_size": 4, "num_classes": 5}  # maps of 16, 8, 4 and 2
TRANSFORMERS_TINY = {"image_size": 38, "patch_size": 2, "window_size": 5, "num_labels": 5}  # maps of 19, 10 and 5
BACKBONE_TINY = {"patch_size": 2, "window_size": 5}  # maps of 19, 10, 5 and 3, the last two padded to one window
NARROW = {"embed_dim": 12, "depths": (2, 2, 3, 2), "num_heads": (2, 3, 4, 6)}
THREE = {"embed_dim": 12, "depths": (2, 3, 2), "num_heads": (2, 3, 4)}
TINY = {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}
SMALL = {**TINY, "depths": (2, 2, 18, 2)}
BASE = {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)}
LARGE = {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48)}
AT_384 = {"window_size": 12}


def lying(height: int, width: int) -> Callable[[Tensor], Tensor]:
    """transformers' tokens of a picture of this size back to a map: the first side that fits."""

    def as_map(tokens: Tensor) -> Tensor:
        sides = [(-(-height // step), -(-width // step)) for step in (2, 4, 8, 16)]
        h, w = next((h, w) for h, w in sides if h * w == tokens.shape[1])
        return rearrange(tokens, "b (h w) d -> b h w d", h=h, w=w)

    return as_map


def timm_trial(**changes: Any) -> Trial:
    """Some sizes changed, three pictures, and the pairs for so many stages."""
    return Trial(changes, batch=3, pairs=timm_pairs(len(changes.get("depths", NARROW["depths"]))))


TIMM_TRIALS = {
    "the last map smaller than its window": timm_trial(),
    "two stages, not square": timm_trial(img_size=(32, 48), depths=(2, 2), num_heads=(3, 6), embed_dim=24),
    "window 3, patch 4": timm_trial(img_size=48, patch_size=4, window_size=3, depths=(3, 2), num_heads=(1, 2)),
    "one window a map": timm_trial(img_size=8, depths=(2, 2), num_heads=(3, 2)),
    "narrow MLP": timm_trial(mlp_ratio=1.5, depths=(2, 1), num_heads=(3, 6)),
    "no head": timm_trial(num_classes=0, depths=(1, 2, 1), num_heads=(3, 6, 2)),
    "one axis at the window": timm_trial(img_size=(16, 32), depths=(2, 2), num_heads=(3, 2)),
    "the other axis at the window": timm_trial(img_size=(32, 16), depths=(2, 2), num_heads=(3, 2)),
    "padded, one axis at the window": timm_trial(img_size=(20, 16), depths=(2, 2), num_heads=(3, 2)),
    "padded on both axes": timm_trial(img_size=(28, 44), depths=(2, 2, 2), num_heads=(3, 2, 4)),
    "window 7 at 112 pixels": timm_trial(
        img_size=112, patch_size=4, window_size=7, depths=(2, 2, 2), num_heads=(1, 2, 3), embed_dim=6
    ),
}
# Maps are padded to whole windows, merges to pairs; the last map of 38 pixels is one window, unshifted.
TRANSFORMERS_TRIALS = {
    f"{h} x {w}, batch {batch}": Trial(batch=batch, image_size=(h, w), pairs=transformers_pairs(3, lying(h, w)))
    for h, w in ((38, 38), (60, 46), (41, 77), (95, 42))
    for batch in (1, 3)
}
# Always shifted, the window never shrunk: 9 pixels give maps of 5, 3, 2 and 1 tokens, each one padded window.
BACKBONE_TRIALS = {
    f"{h} x {w}, window {window}": Trial(
        {"window_size": window}, image_size=(h, w), pairs=transformers_pairs(4, lying(h, w))[:-1]
    )
    for h, w in ((37, 37), (9, 9), (1, 1), (3, 90), (64, 40))
    for window in (3, 5)
}

REFERENCES = [
    Reference(
        model="Swin",
        library="timm",
        system="swin",
        format="timm",
        build=build_timm,
        inputs=inputs,
        run=run,
        run_reference=run,
        pairs=timm_pairs(),
        told=timm_told,
        sizes=timm_sizes,
        tiny={**NARROW, **TIMM_TINY},
        trials=TIMM_TRIALS,
        official={
            "timm/swin_tiny_patch4_window7_224.ms_in1k": TINY,
            "timm/swin_base_patch4_window7_224.ms_in22k_ft_in1k": BASE,
            "timm/swin_base_patch4_window12_384.ms_in22k_ft_in1k": {**BASE, **AT_384, "img_size": 384},
        },
    ),
    Reference(
        model="Swin",
        library="transformers",
        system="swin",
        format="transformers_v5",
        build=build_transformers,
        inputs=inputs,
        run=run,
        run_reference=run_transformers,
        pairs=transformers_pairs(3),
        told=transformers_told,
        sizes=transformers_sizes,
        tiny={**THREE, **TRANSFORMERS_TINY},
        trials=TRANSFORMERS_TRIALS,
        official={"microsoft/swin-tiny-patch4-window7-224": {**TINY, "num_labels": 1000}},
        open=pretrained,
    ),
    Reference(
        model="Swin backbone",
        library="transformers",
        system="swin",
        format="transformers_v5_backbone",
        build=build_backbone,
        inputs=odd_inputs,
        run=run_maps,
        run_reference=run_backbone,
        pairs=transformers_pairs(4)[:-1],
        tiny={**NARROW, **BACKBONE_TINY},
        trials=BACKBONE_TRIALS,
        sizes=backbone_sizes,
        open=pretrained,
    ),
]
