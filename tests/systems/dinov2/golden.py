"""DINOv2's golden cases: the official DinoVisionTransformer, tiny ones by number and the released ones by name."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from checkpoints_convert import build
from checkpoints_convert.proof.compare import difference
from minimodels.dinov2 import DINOv2, to_grid
from tests.golden import Case, Line, take


def run_model(case: Case, device: torch.device) -> list[Line]:
    """Positions, the tokens before the first block, all features by name, intermediate layers."""
    model: Any = build(case.checkpoint(), "dinov2", num_heads=case.config["kwargs"]["num_heads"]).to(device)
    return [*told(case, model), *judged(case, model, device)]


def judged(case: Case, model: Any, device: torch.device) -> list[Line]:
    """A model's answers beside the case's; of reshaped maps the first 16 channels are stored."""
    image = case.tensor("in.image", torch.float64).to(device)
    parts = {found[0]: "first 16 channels" for found in case.numbered(r"out\.last\d+\.reshaped")}
    return case.judge(observe(model, image, case), parts)


def observe(model: DINOv2, image: Tensor, case: Case) -> dict[str, Tensor]:
    """Everything a case stores, by its names: of layers by their number and of the last few, the more so."""
    grid = (image.shape[-2] // model.patch_size, image.shape[-1] // model.patch_size)
    features = model.encode(image)
    computed = {
        "out.pos": model.positions(grid)[None],
        "out.tokens": model.embed(image),
        "out.x_norm_clstoken": features.class_token,
        "out.x_norm_regtokens": features.registers,
        "out.x_norm_patchtokens": features.patches,
        "out.x_prenorm": features.prenorm,
        "out.forward": model(image),
    }
    for layer in case.config["layers"]:
        class_token, _, patches = model.split(model.intermediate(image, [layer])[0])
        computed |= {f"out.layer{layer}.cls": class_token, f"out.layer{layer}.patch": patches}
    for name in case.numbered(r"out\.last(\d+)\.(reshaped|unnormed)"):
        found = model.intermediate(image, int(name[1]), norm=name[2] == "reshaped")
        patches = [model.split(tokens)[2] for tokens in found]
        maps = torch.stack([to_grid(one, grid) for one in patches])
        computed[name[0]] = maps if name[2] == "reshaped" else patches[0]
    for name in ("x_norm_clstoken", "x_norm_patchtokens"):
        computed[f"out.f32pos.{name}"] = computed[f"out.{name}"]
    assert difference(model.patch_features(image), model.split(features.prenorm)[2]) <= 1e-12
    assert torch.equal(rearrange(to_grid(features.patches, grid), "b d h w -> b (h w) d"), features.patches)
    return computed


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """The converter takes every official name, and our model has the official number of parameters and sizes."""
    lines, model = take(case, lambda tensors: build(tensors, "dinov2"))
    return lines if model is None else [*lines, *told(case, model)]


def told(case: Case, model: Any) -> list[Line]:
    """The official constructor's numbers, by our names; the official defaults where the case says nothing."""
    official, ours = case.config["kwargs"], model.about["arguments"]
    wanted = {
        "image_size": official["img_size"],
        "patch_size": official["patch_size"],
        "swiglu": official["ffn_layer"].startswith("swiglu"),
        "num_registers": official.get("num_register_tokens", 0),
        "position_offset": official.get("interpolate_offset", 0.1),
        "antialias": official.get("interpolate_antialias", False),
    }
    return [Line(name, ours[name] == value, f"ours {ours[name]}, official {value}") for name, value in wanted.items()]


KINDS = {"model": run_model, "keys": run_keys}
# Which rows of the parity table the copied cases belong to.
ROWS = {
    **{f"tiny{case}": "DINOv2" for case in ("", "_up", "_native", "_same_count")},
    "tiny_reg": "DINOv2 registers",
    "tiny_swiglu": "DINOv2 SwiGLU",
}
