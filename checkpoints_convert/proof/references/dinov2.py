"""DINOv2 beside timm's VisionTransformer and transformers' Dinov2Model and Dinov2WithRegistersModel.

At the trained size all agree. At any other the libraries resize positions in ways of their own (timm always smooths,
transformers hands on the size and not the factor), and the official numbers win: golden cases judge there.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints_convert.proof.references import Outputs, Reference, Sizes, Trial, pretrained, random_image


def build_timm(*, swiglu: bool = False, registers: int = 0, mlp_dim: int, **sizes: Any) -> nn.Module:
    """timm's model as its vit_*_patch14_dinov2 and vit_*_patch14_reg4_dinov2 build it."""
    from timm.layers import SwiGLUPacked
    from timm.models.vision_transformer import VisionTransformer

    gate: dict[str, Any] = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU} if swiglu else {}
    ratio = mlp_dim * (2 if swiglu else 1) / sizes["embed_dim"]
    tokens: dict[str, Any] = {"reg_tokens": registers, "no_embed_class": True} if registers else {}
    return VisionTransformer(init_values=1e-5, num_classes=0, mlp_ratio=ratio, **gate, **tokens, **sizes)


def build_transformers(*, registers: int = 0, **sizes: Any) -> nn.Module:
    """transformers' model; `sizes` are its config's."""
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    if registers:
        config = Dinov2WithRegistersConfig(num_register_tokens=registers, attn_implementation="sdpa", **sizes)
        return Dinov2WithRegistersModel(config)
    return Dinov2Model(Dinov2Config(attn_implementation="sdpa", **sizes))


def run(model: Any, image: Tensor) -> Outputs:
    """All features by name."""
    features = model.encode(image)
    return {**named(features.class_token, features.registers, features.patches), "prenorm": features.prenorm}


def named(class_token: Tensor, registers: Tensor, patches: Tensor) -> Outputs:
    """Class token, patches, and registers where there are any."""
    found = {"class token": class_token, "patches": patches}
    return {**found, "registers": registers} if registers.shape[1] else found


def run_timm(model: Any, image: Tensor) -> Outputs:
    """The same of timm: its norm runs inside `forward_features`, what lies before it is the last block's output."""
    seen: list[Tensor] = []
    hook = model.norm.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    tokens = model.forward_features(image)
    hook.remove()
    first = model.num_prefix_tokens
    return {**named(model.forward_head(tokens), tokens[:, 1:first], tokens[:, first:]), "prenorm": seen[0]}


def run_transformers(model: Any, image: Tensor) -> Outputs:
    """The same of transformers."""
    seen: list[Tensor] = []
    hook = model.layernorm.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    answer = model(image)
    hook.remove()
    tokens, first = answer.last_hidden_state, 1 + getattr(model.config, "num_register_tokens", 0)
    return {**named(answer.pooler_output, tokens[:, 1:first], tokens[:, first:]), "prenorm": seen[0]}


def inputs(arguments: Mapping[str, Any], generator: torch.Generator, batch: int) -> dict[str, Tensor]:
    """Pictures of the trained size."""
    return {"image": random_image(generator, batch, arguments["image_size"], arguments["image_size"])}


TRIALS = {"tiny": Trial(), "tiny, batch 3": Trial(seed=1, batch=3)}
SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16), "giant": (1536, 40, 24)}
TINY_TIMM = {"img_size": 42, "patch_size": 14, "embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_dim": 40}
TINY_TRANSFORMERS = {
    "image_size": 42,
    "patch_size": 14,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "mlp_ratio": 2,
}


def timm_sizes(size: str, registers: int) -> dict[str, Any]:
    """One of the released sizes, in timm's words."""
    width, depth, heads = SIZES[size]
    numbers = {"img_size": 518, "patch_size": 14, "embed_dim": width, "depth": depth, "num_heads": heads}
    return {**numbers, "swiglu": size == "giant", "registers": registers, "mlp_dim": min(4 * width, 4096)}


def transformers_sizes(size: str, registers: int) -> dict[str, Any]:
    """One of the released sizes, in transformers' words."""
    width, depth, heads = SIZES[size]
    numbers = {"image_size": 518, "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    return {**numbers, "use_swiglu_ffn": size == "giant", "registers": registers}


def timm_of(arguments: Mapping[str, Any]) -> Sizes | None:
    """timm's words for the arguments of ours; the class token has a place of its own there, or there are registers."""
    if arguments["class_position"] == (arguments["num_registers"] > 0):
        return None
    alike = ("patch_size", "embed_dim", "depth", "num_heads", "swiglu", "mlp_dim")
    told = {"img_size": arguments["image_size"], "registers": arguments["num_registers"]}
    return {key: arguments[key] for key in alike} | told


def transformers_of(arguments: Mapping[str, Any]) -> Sizes | None:
    """transformers' words for them; its MLP is a whole number of times as wide, its SwiGLU two thirds of that."""
    width, swiglu = arguments["embed_dim"], arguments["swiglu"]
    made = {ratio: (ratio * width * 2 // 3 + 7) // 8 * 8 if swiglu else ratio * width for ratio in range(1, 17)}
    ratio = next((ratio for ratio, wide in made.items() if wide == arguments["mlp_dim"]), None)
    if ratio is None:
        return None
    return {
        "image_size": arguments["image_size"],
        "patch_size": arguments["patch_size"],
        "hidden_size": width,
        "num_hidden_layers": arguments["depth"],
        "num_attention_heads": arguments["num_heads"],
        "mlp_ratio": ratio,
        "use_swiglu_ffn": swiglu,
        "registers": arguments["num_registers"],
    }


def only(model: str, words: Callable[[Mapping[str, Any]], Sizes | None]) -> Callable[[Mapping[str, Any]], Sizes | None]:
    """The sizes of one of the three kinds, and nothing of the others."""

    def sizes(arguments: Mapping[str, Any]) -> Sizes | None:
        kind = "registers" if arguments["num_registers"] else "SwiGLU" if arguments["swiglu"] else ""
        return words(arguments) if model == f"DINOv2 {kind}".strip() else None

    return sizes


def timm_reference(
    model: str, tiny: dict[str, Any], official: dict[str, Any], trials: Mapping[str, Trial] | None = None
) -> Reference:
    """One of the three kinds beside timm."""
    return Reference(
        model,
        "timm",
        "dinov2",
        "timm",
        build=build_timm,
        inputs=inputs,
        run=run,
        run_reference=run_timm,
        pairs=[("blocks.{i}", "blocks.{i}"), ("norm", "norm")],
        told=lambda sizes: {"num_heads": sizes["num_heads"]},
        sizes=only(model, timm_of),
        tiny={**TINY_TIMM, **tiny},
        trials={**TRIALS, **(trials or {})},
        official=official,
    )


def transformers_reference(
    model: str, tiny: dict[str, Any], official: dict[str, Any], trials: Mapping[str, Trial] | None = None
) -> Reference:
    """One of the three kinds beside transformers."""
    return Reference(
        model,
        "transformers",
        "dinov2",
        "transformers_v5",
        build=build_transformers,
        inputs=inputs,
        run=run,
        run_reference=run_transformers,
        pairs=[("blocks.{i}", "encoder.layer.{i}"), ("norm", "layernorm")],
        told=lambda sizes: {"num_heads": sizes["num_attention_heads"]},
        sizes=only(model, transformers_of),
        tiny={**TINY_TRANSFORMERS, **tiny},
        trials={**TRIALS, **(trials or {})},
        official=official,
        open=pretrained,
    )


def official(library: str, sizes: tuple[str, ...], registers: int) -> dict[str, Any]:
    """Official names and what they build."""
    if library == "timm":
        tail = "_reg4" * bool(registers)
        return {f"timm/vit_{size}_patch14{tail}_dinov2.lvd142m": timm_sizes(size, registers) for size in sizes}
    tail = "with-registers-" * bool(registers)
    return {f"facebook/dinov2-{tail}{size}": transformers_sizes(size, registers) for size in sizes}


MLP, GATED = ("small", "base", "large"), ("giant",)
SMALLEST = "two patches a side, one block, one head, one register"
SMALLEST_TIMM = Trial(
    {"img_size": 16, "patch_size": 8, "embed_dim": 20, "depth": 1, "num_heads": 1, "registers": 1}, batch=3
)
SMALLEST_TRANSFORMERS = Trial(
    {
        "image_size": 16,
        "patch_size": 8,
        "hidden_size": 20,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "registers": 1,
    },
    batch=3,
)
REFERENCES = [
    timm_reference("DINOv2", {}, official("timm", MLP, 0)),
    timm_reference("DINOv2 registers", {"registers": 4}, official("timm", MLP, 4), {SMALLEST: SMALLEST_TIMM}),
    timm_reference("DINOv2 SwiGLU", {"swiglu": True, "mlp_dim": 32}, official("timm", GATED, 0)),
    transformers_reference("DINOv2", {}, official("transformers", MLP, 0)),
    transformers_reference(
        "DINOv2 registers", {"registers": 4}, official("transformers", MLP, 4), {SMALLEST: SMALLEST_TRANSFORMERS}
    ),
    transformers_reference("DINOv2 SwiGLU", {"use_swiglu_ffn": True}, official("transformers", GATED, 0)),
]
