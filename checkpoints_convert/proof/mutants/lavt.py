"""Wrong LAVTs: Swin's windows, PWAM, the language gate, decoder, BERT. No library has LAVT: official cases tell."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from checkpoints_convert.proof.mutants import Change, Mutant, StandIn, each, inside, methods, put
from checkpoints_convert.proof.mutants import blocks as wrong
from checkpoints_convert.proof.mutants.swin import RIGHT_BEFORE_DOWN, fits_not_shifted, look_shrunk, looking
from minimodels import lavt
from minimodels.lavt import LAVT, PWAM, DecoderStep, LanguageGate
from minimodels.swin import SwinBlock

Bend = Callable[[Tensor], Tensor]

# ---------------------------------------------------------------- PWAM and gate


def pwam(
    *,
    norm_query: bool = True,
    norm_value: bool = True,
    bend: Bend = F.gelu,
    bend_visual: Bend = F.gelu,
    masked: bool = True,
    over: int = -1,
    heads: str = "(heads d)",
) -> Change:
    """PWAM spelled out, with one thing wrong."""

    def forward(module: Any, visual: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        norm = lavt.instance_norm
        q = norm(module.query(visual)) if norm_query else module.query(visual)
        q = rearrange(q, f"b h w {heads} -> b heads (h w) d", heads=module.num_heads)
        k, v = (
            rearrange(layer(words), f"b t {heads} -> b heads t d", heads=module.num_heads)
            for layer in (module.key, module.value)
        )
        scores = q @ k.mT * module.scale
        if masked:
            scores = scores.masked_fill(mask[:, None, None] == 0, -1e4)
        mixed = rearrange(scores.softmax(over) @ v, f"b heads (h w) d -> b h w {heads}", h=visual.shape[1])
        attended = norm(module.attended_proj(mixed)) if norm_value else module.attended_proj(mixed)
        return bend(module.out_proj(bend_visual(module.visual_proj(visual)) * attended))

    return methods(PWAM, forward=forward)


def tanh_gelu(x: Tensor) -> Tensor:
    """The approximate GELU."""
    return F.gelu(x, approximate="tanh")


def scaled_by_head(module: Any) -> None:
    """1/sqrt of a head's width, not of all channels."""
    module.scale = module.scale * module.num_heads**0.5


def gate(rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Change:
    """Another formula in the place of V + tanh(...) * F."""

    def forward(module: Any, visual: Tensor, fused: Tensor) -> Tensor:
        return rule(visual, fused, module.fc2(module.fc1(fused).relu()))

    return methods(LanguageGate, forward=forward)


def sample_norm(x: Tensor) -> Tensor:
    """InstanceNorm with the variance of a sample."""
    variance, mean = torch.var_mean(x, dim=(1, 2), correction=1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def instance_norm(rule: Callable[[Tensor], Tensor]) -> StandIn:
    """Another InstanceNorm."""
    return StandIn(lavt, "instance_norm", rule)


# ---------------------------------------------------------------- decoder and words


def decoder_reads(change: Callable[[Any, int, dict[str, Tensor]], Tensor]) -> Change:
    """The decoder's inputs changed: model, stage and maps give what stands for N_i."""

    def decode(model: Any, maps: dict[str, Tensor], size: Any) -> dict[str, Tensor]:
        for i in range(1, len(model.norms) + 1):
            maps[f"N_{i}"] = change(model, i, maps)
        return LAVT.decode(model, maps, size)

    return methods(LAVT, decode=decode)


def norm_of(model: Any, i: int, x: Tensor) -> Tensor:
    """A map through the norm of its stage."""
    return lavt.channels_first(model.norms[i - 1](rearrange(x, "b c h w -> b h w c")))


def fed_with_e(model: Any, i: int, maps: dict[str, Tensor]) -> Tensor:
    """What goes on to the next stage."""
    return norm_of(model, i, maps.get(f"E_{i}", maps[f"F_{i}"]))


def fed_with_gated(model: Any, i: int, maps: dict[str, Tensor]) -> Tensor:
    """What the gate lets through."""
    return norm_of(model, i, maps[f"E_{i}"] - maps[f"V_{i}"] if f"E_{i}" in maps else maps[f"F_{i}"])


def fine_first(step: Any, coarse: Tensor, fine: Tensor) -> Tensor:
    """The finer map's channels first."""
    x = torch.cat([fine, lavt.enlarge(coarse, fine.shape[-2:])], dim=1)
    return step.norm2(step.conv2(step.norm1(step.conv1(x)).relu())).relu()


def corners_free(x: Tensor, size: Any) -> Tensor:
    """Enlarged with align_corners off."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def early_words(block: Any) -> None:
    """A block of BERT that does nothing."""
    block.forward = lambda x, keys: x


W4, SEVERAL_HEADS, ONE_MODEL = ("tiny_w4",), ("tiny_mha",), ("tiny_one",)
ON_W4: dict[str, Change | StandIn] = {
    "no shift mask": looking(seen="all"),
    "no shift": each(SwinBlock, put("shift", 0)),
    "shift in even blocks too": each(SwinBlock, put("shift", 2)),
    "padding masked": looking(seen="no padding"),
    "merging across first": RIGHT_BEFORE_DOWN,
    "LayerNorm eps 1e-6": wrong.epsilon(1e-6),
    "BatchNorm eps 1e-3": each(nn.BatchNorm2d, put("eps", 1e-3)),
    "BatchNorm in training": each(nn.BatchNorm2d, put("training", True)),
    "PWAM not scaled": each(PWAM, put("scale", 1.0)),
    "words not masked": pwam(masked=False),
    "softmax over positions": pwam(over=-2),
    "query not normalised": pwam(norm_query=False),
    "answer not normalised": pwam(norm_value=False),
    "tanh GELU": pwam(bend=tanh_gelu, bend_visual=tanh_gelu),
    "ReLU behind PWAM": pwam(bend=torch.relu),
    "no bend before the product": pwam(bend_visual=lambda x: x),
    "InstanceNorm with running statistics": instance_norm(lambda x: x * (1 + 1e-5) ** -0.5),
    "InstanceNorm over the channels": instance_norm(lambda x: F.layer_norm(x, x.shape[-1:])),
    "InstanceNorm eps 1e-6": StandIn(lavt, "NORM_EPS", 1e-6),
    "variance of a sample": instance_norm(sample_norm),
    "no gate": gate(lambda v, f, g: v + f),
    "gate by sigmoid": gate(lambda v, f, g: v + g.sigmoid() * f),
    "gate on the picture": gate(lambda v, f, g: g.tanh() * v + f),
    "words alone go on": gate(lambda v, f, g: g.tanh() * f),
    "gate before the norm": decoder_reads(fed_with_gated),
    "decoder fed E_i": decoder_reads(fed_with_e),
    "decoder fed F_i, not normalised": decoder_reads(lambda model, i, maps: maps[f"F_{i}"]),
    "decoder fed V_i": decoder_reads(lambda model, i, maps: norm_of(model, i, maps[f"V_{i}"])),
    "align_corners off": StandIn(lavt, "enlarge", corners_free),
    "finer map first": methods(DecoderStep, forward=fine_first),
}
ON_SEVERAL_HEADS: dict[str, Change] = {
    "window shrunk on small maps": methods(SwinBlock, look_around=look_shrunk),
    "no shift where the map fits": methods(SwinBlock, shift_here=fits_not_shifted),
    "PWAM scaled per head": each(PWAM, scaled_by_head),
    "heads interleaved": pwam(heads="(d heads)"),
    "one head for several": each(PWAM, put("num_heads", 1)),
}
ON_ONE_MODEL: dict[str, Change] = {
    "BERT's last block left out": lambda model: early_words(model.bert.blocks[-1]),
    "no token types": inside("bert", lambda bert: bert.token_type.data.zero_()),
}
MUTANTS = [
    *(Mutant(name, change, cases=W4) for name, change in ON_W4.items()),
    *(Mutant(name, change, cases=SEVERAL_HEADS) for name, change in ON_SEVERAL_HEADS.items()),
    *(Mutant(name, change, cases=ONE_MODEL) for name, change in ON_ONE_MODEL.items()),
]
