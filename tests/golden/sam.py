"""SAM's golden cases: the official model on a tiny size, its relative positions, its mask generator and its helpers."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from checkpoints_convert import build
from minimodels import sam
from minimodels.errors import UserError
from minimodels.images_padded import PaddedPreprocess
from tests.golden import Case, Line

# ---------------------------------------------------------------- the model


def load(case: Case, device: torch.device) -> Any:
    """Our model from the case's official names; its heads, which no shape tells, from the config."""
    return build(case.checkpoint(), "sam", decoder_heads=case.config["kwargs"]["decoder_heads"]).to(device)


def run_model(case: Case, device: torch.device) -> list[Line]:
    """Pixels, every block, the embedding, prompts of each kind, masks before and after the two interpolations."""
    model = load(case, device)
    picture, size = Image.fromarray(case.arrays["in.image"]), tuple(case.config["original_size"])
    preprocess = PaddedPreprocess(model.image_size)
    pixels = preprocess(picture, torch.float64)[None].to(device)
    seen: dict[str, Tensor] = {}
    encoder = model.image_encoder
    for number, block in enumerate(encoder.blocks):
        block.register_forward_hook(lambda module, given, output, name=f"out.block{number}": seen.update({name: output}))
    encoder.blocks[0].register_forward_pre_hook(lambda module, given: seen.update({"embedded": given[0]}))
    embedding = model.encode(pixels)
    seen |= {"out.patch_embed": seen["embedded"], "out.image_embedding": embedding}
    seen |= {"out.preprocessed": pixels, "out.resized": torch.from_numpy(np.array(preprocess.resize(picture)))}
    grid = len(encoder.pos)
    seen["out.dense_pe"] = model.prompt_encoder.encode_grid().T.reshape(1, -1, grid, grid)
    for name, told in case.config["prompts"].items():
        seen |= run_prompt(case, model, embedding, name, told["multimask"], preprocess, size, device)
    return case.judge({name: pick(name, seen) for name in case.arrays if name.startswith("out.")})


def run_prompt(
    case: Case,
    model: Any,
    embedding: Tensor,
    name: str,
    multimask: list[bool],
    preprocess: PaddedPreprocess,
    size: tuple[int, int],
    device: torch.device,
) -> dict[str, Tensor]:
    """One kind of prompt. The official arrays have no image axis: all prompts are of one picture."""
    prompts: dict[str, Tensor] = {}
    for key in ("points", "labels", "boxes", "masks"):
        if f"in.{name}.{key}" in case.arrays:
            given = case.tensor(f"in.{name}.{key}", torch.float64).to(device)
            given = preprocess.to_square(given, size) if key in ("points", "boxes") else given
            prompts["mask" if key == "masks" else key] = given[:, 0][None] if key == "masks" else given[None]
    tokens, dense = model.prompt_encoder(*(prompts.get(key) for key in ("points", "labels", "boxes", "mask")))
    out = {"sparse": tokens[0], "dense": dense[0].expand(tokens.shape[1], -1, -1, -1)}
    out |= {ours: prompts[key][0] for key, ours in (("points", "coords"), ("boxes", "boxes")) if key in prompts}
    for several in multimask:
        low, iou = model.decode(embedding, **prompts, multimask=several)
        logits = model.enlarge(low, preprocess.inside(size), size)
        kind = "multi" if several else "single"
        out |= {f"{kind}.low_res": low[0], f"{kind}.iou": iou[0], f"{kind}.logits": logits[0]}
        out[f"{kind}.masks"] = logits[0] > 0
    return {f"out.{name}.{key}": tensor for key, tensor in out.items()}


def pick(name: str, seen: dict[str, Tensor]) -> Tensor:
    """What a name stores: `.s2c4` every second row and column and fourth channel, dense vectors one position."""
    step = re.search(r"\.s(\d+)(?:c(\d+))?$", name)
    if step is None:
        tensor = seen[name]
        return tensor[:, :, :1, :1] if name.endswith(".dense") and name != "out.mask.dense" else tensor
    tensor, every = seen[name[: step.start()]], int(step[1])
    if step[2]:  # (B, h, w, C): channels last
        return tensor[:, ::every, ::every, :: int(step[2])]
    return tensor[..., ::every, ::every]


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """The converter takes every official name at full size, and all numbers are there."""
    tensors = case.empty_checkpoint()
    try:
        model: Any = build(tensors, "sam")
    except UserError as error:
        return [Line("names", False, str(error))]
    ours = model.state_dict()
    count, wanted = sum(tensor.numel() for tensor in ours.values()), case.config["parameters"]
    return [
        Line("names", True, f"{len(tensors)} official names become our {len(ours)} tensors"),
        Line("parameters", count == wanted, f"ours {count:,}, official {wanted:,}"),
    ]


def run_relpos(case: Case, device: torch.device) -> list[Line]:
    """Rows of the tables, the bias, and windows with their padding."""
    computed: dict[str, Tensor] = {}
    for number in range(sum(name.endswith(".table") for name in case.arrays)):
        q_size, k_size = case.arrays[f"in.{number}.sizes"].tolist()
        computed[f"out.{number}"] = sam.relative_rows(case.tensor(f"in.{number}.table"), q_size, k_size)
    tables = case.tensor("in.rel_h"), case.tensor("in.rel_w")
    grid = tuple((len(table) + 1) // 2 for table in tables)
    bias = sam.relative_bias(case.tensor("in.q")[:, None], *tables, grid)
    computed["out.attn"] = case.tensor("in.attn") + bias[:, 0]
    x, size = case.tensor("in.window.x"), case.config["arguments"]["window"]
    windows = sam.split_windows(x, size, x.new_zeros(x.shape[-1]))
    computed["out.window"] = windows
    computed["out.window.hw"] = torch.tensor([side + -side % size for side in x.shape[1:3]])
    back = torch.equal(sam.join_windows(windows, x.shape[1:3]), x)
    return [*case.judge(computed), Line("windows joined again", back, "what they were made of")]


KINDS: dict[str, Callable[[Case, torch.device], list[Line]]] = {
    "model": run_model,
    "keys": run_keys,
    "relpos": run_relpos,
}
