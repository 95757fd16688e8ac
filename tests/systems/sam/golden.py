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
from minimodels import sam_everything as generator
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from tests.golden import Case, Line, take

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
        block.register_forward_hook(
            lambda module, given, output, name=f"out.block{number}": seen.update({name: output})
        )
    encoder.blocks[0].register_forward_pre_hook(lambda module, given: seen.update({"embedded": given[0]}))
    embedding = model.encode(pixels)
    seen |= {"out.patch_embed": seen["embedded"], "out.image_embedding": embedding}
    seen |= {"out.preprocessed": pixels, "out.resized": torch.from_numpy(np.array(preprocess.resize(picture)))}
    grid = len(encoder.pos)
    seen["out.dense_pe"] = model.prompt_encoder.encode_grid().T.reshape(1, -1, grid, grid)
    for name, told in case.config["prompts"].items():
        seen |= run_prompt(case, model, embedding, name, told["multimask"], preprocess, size, device)
    return case.judge({name: pick(case, name, seen) for name in case.arrays if name.startswith("out.")})


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


def pick(case: Case, name: str, seen: dict[str, Tensor]) -> Tensor:
    """What a name stores: `.s2c4` every second row and column and fourth channel, even dense maps one position."""
    step = re.search(r"\.s(\d+)(?:c(\d+))?$", name)
    if step is None:
        tensor, one_place = seen[name], case.arrays[name].shape[-2:] == (1, 1)
        return tensor[:, :, :1, :1] if name.endswith(".dense") and one_place else tensor
    tensor, every = seen[name[: step.start()]], int(step[1])
    if step[2]:  # (B, h, w, C): channels last
        return tensor[:, ::every, ::every, :: int(step[2])]
    return tensor[..., ::every, ::every]


def run_keys(case: Case, device: torch.device) -> list[Line]:
    """The converter takes every official name at full size, and all numbers are there."""
    return take(case, lambda tensors: build(tensors, "sam"), buffers=True)[0]


def run_relpos(case: Case, device: torch.device) -> list[Line]:
    """Rows of the tables, the bias, and windows with their padding."""
    computed: dict[str, Tensor] = {}
    for name in (found[1] for found in case.numbered(r"in\.(.+)\.table")):
        q_size, k_size = case.arrays[f"in.{name}.sizes"].tolist()
        computed[f"out.{name}"] = sam.relative_rows(case.tensor(f"in.{name}.table"), q_size, k_size)
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


# ---------------------------------------------------------------- the mask generator


def run_generate(case: Case, device: torch.device) -> list[Line]:
    """Every record of the official generator, in its order."""
    told = dict(case.config["generator"])
    keep = generator.Keep(
        iou=told.pop("pred_iou_thresh"),
        stability=told.pop("stability_score_thresh"),
        offset=told.pop("stability_score_offset"),
    )
    numbers = {ours: told.pop(theirs) for theirs, ours in GENERATOR.items() if theirs in told}
    make = generator.MaskGenerator(
        generator.SAMProposer(load(case, device)), keep=keep, threshold=case.config["mask_threshold"], **numbers
    )
    found = make(Image.fromarray(case.arrays["in.image"]))
    computed: dict[str, Any] = {
        "out.masks": np.stack([proposal.mask for proposal in found]),
        "out.bbox": to_xywh(torch.tensor([proposal.box for proposal in found])),
        "out.area": [proposal.area for proposal in found],
    }
    computed |= {
        key: torch.tensor([getattr(proposal, name) for proposal in found], dtype=torch.float64)
        for key, name in EXACT.items()
    }
    leftover = [Line(f"option {name}", False, "nothing here takes it") for name in told]
    return leftover + case.judge(computed)


GENERATOR = {
    "points_per_side": "points_per_side",
    "points_per_batch": "points_per_batch",
    "box_nms_thresh": "nms",
    "crop_n_layers": "crop_layers",
    "crop_nms_thresh": "crop_nms",
    "crop_n_points_downscale_factor": "crop_downscale",
    "min_mask_region_area": "min_region",
}
EXACT = {"out.predicted_iou": "predicted_iou", "out.stability_score": "stability", "out.point_coords": "point"}


def to_xywh(boxes: Tensor) -> Tensor:
    """x, y, width, height as the official records hold them."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)


def run_helpers(case: Case, device: torch.device) -> list[Line]:
    """The generator's small functions, and the coordinates of six picture sizes."""
    told, logits = case.config["arguments"], case.tensor("in.logits")
    masks = logits > told["mask_threshold"]
    boxes = generator.mask_boxes(masks)
    computed: dict[str, Any] = {"out.boxes": boxes, "out.boxes.xywh": to_xywh(boxes), "out.area": masks.sum((1, 2))}
    steady = {
        offset: generator.stability(logits, told["mask_threshold"], offset) for offset in told["stability_offsets"]
    }
    for name in case.numbered(r"out\.stability\.(\d+\.\d+)"):  # the first few masks of each offset
        computed[name[0]] = steady[float(name[1])][: len(case.arrays[name[0]])]
    for name in case.numbered(r"out\.stability\.last(\d+)"):  # the others, by the first offset
        computed[name[0]] = steady[told["stability_offsets"][0]][-int(name[1]) :].nan_to_num(-1)
    for threshold in told["nms_thresholds"]:
        for name, of, scores in (
            ("masks", boxes, "in.scores"),
            ("boxes", case.tensor("in.nms_boxes"), "in.nms_scores"),
        ):
            computed[f"out.nms.{name}.{threshold}"] = generator.suppress(of, case.tensor(scores), threshold)
    computed |= near_edges(case, boxes)
    computed |= {found[0]: generator.point_grid(int(found[1])) for found in case.numbered(r"out\.grid\.(\d+)")}
    for name, (size, layers, overlap) in told["crops"].items():
        of, which = generator.crop_boxes(tuple(size), layers, overlap)
        computed |= {f"out.crops.{name}.boxes": of, f"out.crops.{name}.layers": which}
    runs = [generator.encode_runs(mask.numpy()) for mask in masks]
    computed |= {found[0]: runs[int(found[1])] for found in case.numbered(r"out\.rle\.(\d+)")}
    back = all(np.array_equal(generator.decode_runs(run, mask.shape), mask) for run, mask in zip(runs, masks))
    computed |= cleaned(masks[: told["clean"]["first"]], told["clean"]["area_thresh"])
    computed |= uncropped(masks[: told["uncrop"]["first"]], told["uncrop"])
    computed |= in_square(case, told["resize"])
    return [*case.judge(computed), Line("runs decoded again", back, "the masks they were made of")]


def near_edges(case: Case, boxes: Tensor) -> dict[str, Tensor]:
    """Crop boxes that touch an edge: of the whole picture, and of a crop inside it."""
    told = case.config["arguments"]["near_edge"]
    height, width = case.arrays["in.logits"].shape[1:]
    stored = len(case.arrays["out.near_edge.crop"])
    size = (told["crop_image_box"][3], told["crop_image_box"][2])
    return {
        "out.near_edge.full": generator.near_crop_edge(boxes, [0, 0, width, height], (height, width)),
        "out.near_edge.crop": generator.near_crop_edge(boxes[:stored], told["crop"], size),
    }


def cleaned(masks: Tensor, area: int) -> dict[str, np.ndarray]:
    """Holes filled, islands removed, and what changed."""
    out = {}
    for name in ("holes", "islands"):
        results = [generator.clean(mask.numpy(), area, holes=name == "holes") for mask in masks]
        out[f"out.clean.{name}"] = np.stack([mask for mask, _ in results])
        out[f"out.clean.{name}.changed"] = np.array([changed for _, changed in results])
    return out


def uncropped(masks: Tensor, told: dict[str, Any]) -> dict[str, np.ndarray]:
    """Masks of a crop, moved into the whole picture through their code."""
    view = generator.View(None, tuple(told["crop_box"]), (told["orig_h"], told["orig_w"]))
    one = torch.tensor(1.0)
    moved = [
        generator.to_proposal(view, mask, torch.zeros(4, dtype=torch.long), one, one, torch.zeros(2)) for mask in masks
    ]
    return {"out.uncrop": np.stack([proposal.mask for proposal in moved])}


def in_square(case: Case, told: dict[str, Any]) -> dict[str, Tensor]:
    """Sizes, points and boxes in the padded square."""
    preprocess, sizes = PaddedPreprocess(told["target"]), [tuple(size) for size in told["sizes"]]
    points, boxes = case.tensor("in.coords"), case.tensor("in.boxes")
    return {
        "out.resize_shape": torch.tensor([preprocess.inside(size) for size in sizes]),
        "out.apply_coords": torch.stack([preprocess.to_square(points, size) for size in sizes]),
        "out.apply_boxes": torch.stack([preprocess.to_square(boxes, size) for size in sizes]),
    }


KINDS: dict[str, Callable[[Case, torch.device], list[Line]]] = {
    "model": run_model,
    "keys": run_keys,
    "relpos": run_relpos,
    "generate": run_generate,
    "amg_helpers": run_helpers,
}
