"""Matcher's golden cases: patch matching, the prompt sampler, the scores of proposals, the whole from two pictures."""

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from checkpoints_convert import build
from minimodels import matcher
from minimodels.errors import UserError
from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam_everything import SAMProposer
from tests.golden import Case, Line

# The official option -> ours.
FILTERS = ("coverage", "emd", "purity")


def unpacked(case: Case, name: str) -> Tensor:
    """A bit-packed array of masks as booleans."""
    shape = case.arrays[f"{name}_shape"]
    return torch.from_numpy(np.unpackbits(case.arrays[name], count=int(np.prod(shape))).reshape(shape).astype(bool))


def pooled(masks: Tensor, patch_size: int) -> Tensor:
    """Marked patches of all reference pictures, one after the other."""
    return matcher.mark_patches(matcher.fill_empty(masks.double()), patch_size).flatten()


# ---------------------------------------------------------------- patch matching


def run_match(case: Case, device: torch.device) -> list[Line]:
    """Marked patches, similarities, both assignments, the points in their order, and their box."""
    size, columns = case.config["patch_size"], case.config["grid"]
    marked = pooled(unpacked(case, "in.masks")[0], size)
    reference = case.tensor("in.ref_feats").flatten(0, 1)
    similarity = matcher.cosine(reference, case.tensor("in.tar_feats"))
    found = matcher.match_patches(similarity, marked)
    points = matcher.patch_points(found.patches, columns, size)
    computed = {
        "out.ref_masks_pool": marked.double(),
        "out.S": similarity,
        "out.C": matcher.matching_cost(similarity),
        "out.points": points,
        "out.kept_count": torch.tensor([len(found.patches)]),
        "out.box": matcher.points_box(points),
        **assignments(found),
    }
    return case.judge(computed, {"out.S": "every 2nd", "out.C": "every 2nd"})


def assignments(found: matcher.Matches) -> dict[str, Tensor]:
    """Both ways, by the names of the cases."""
    return {
        "out.forward.row": found.rows,
        "out.forward.col": found.target,
        "out.forward.ref_patch": found.reference,
        "out.forward.sim": found.strength,
        "out.reverse.row": torch.arange(len(found.back)),
        "out.reverse.ref_patch": found.back,
        "out.retain": found.retained,
    }


# ---------------------------------------------------------------- the sampler


def run_sampler(case: Case, device: torch.device) -> list[Line]:
    """k-means++ with its draws, and the point sets of every range: of each `in.NAME.points`, options `NAME.RANGE`."""
    computed: dict[str, Any] = {}
    sets_of = {found[1]: case.tensor(found[0]) for found in case.numbered(r"in\.(.+)\.points")}
    for name, points in sets_of.items():
        for count in case.config["num_centers"]:
            computed |= {f"out.{name}.k{count}.{key}": value for key, value in clusters(case, points, count).items()}
    for name, options in case.config["sampler"].items():
        fitting = [one for one in sets_of if f"{name}.".startswith(f"{one}.")]
        if not fitting:
            raise UserError(f"{case.path}: the sampler's {name} names none of the sets of points: {', '.join(sets_of)}")
        points = sets_of[max(fitting, key=len)]
        dice = random.Random(case.config["python_random_seed"])
        sets = matcher.prompt_sets(points, tuple(options["sample_range"]), options["max_iterations"], dice)
        computed |= {f"out.{name}.n{one.shape[1]}": one for one in sets}
    for total, size in (map(int, found.groups()) for found in case.numbered(r"out\.combinations\.(\d+)\.(\d+)")):
        numbers = torch.arange(total)[:, None].repeat(1, 2)
        sets = matcher.prompt_sets(numbers, (size, size), 1, random.Random(0))[0]
        computed[f"out.combinations.{total}.{size}"] = sets[..., 0]
    return case.judge(computed)


def clusters(case: Case, points: Tensor, count: int) -> dict[str, Tensor]:
    """The centres of one case, and its first run from the same seed."""
    count, seed = min(count, len(points)), case.config["torch_manual_seed"]

    def fresh() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    first = points[matcher.first_centers(points.float(), 1, fresh())].float()
    centers, nearest, start = matcher.k_means(points.float(), count, fresh())
    return {
        "init": start,
        "all_draws": start,  # no case has a run that ends with an empty cluster
        "centers": matcher.cluster_points(points, count, fresh()),
        "first_run.centers_f32": centers.double(),
        "first_run.assign": nearest,
        "first_probs": matcher.center_chances(points.float(), first).double(),
    }


# ---------------------------------------------------------------- the scores


def run_scores(case: Case, device: torch.device) -> list[Line]:
    """EMD, purity and coverage of every mask, and what each style makes of the masks it may choose from."""
    masks, grid = unpacked(case, "in.masks"), case.config["grid"]
    size = case.config["input_size"] // grid
    marked = pooled(unpacked(case, "in.ref_masks")[0], size)
    similarity = matcher.cosine(case.tensor("in.ref_feats").flatten(0, 1), case.tensor("in.tar_feats"))
    cost, points = matcher.matching_cost(similarity)[marked], case.tensor("in.points")
    found = matcher.score_masks(masks, points, cost, size)
    computed: dict[str, Any] = {f"out.{name}": value for name, value in found._asdict().items()}
    computed["out.patch_masks"] = matcher.mask_patches(masks, size).reshape(-1, grid, grid)
    select = case.tensor("in.select")
    some = matcher.Scores(*(values[select] for values in found))
    for name, style in case.config["styles"].items():
        totals = matcher.combine(some, style["alpha"], style["beta"], style["exp"])
        computed[f"out.{name}.scores"] = totals
        kept = matcher.filter_masks(some, **{one: style[one] for one in FILTERS})
        computed[f"out.{name}.mask"] = masks[select][chosen(totals, kept, style)].any(dim=0)[None]
    return case.judge(computed)


def chosen(totals: Tensor, kept: Tensor, style: dict[str, Any]) -> Tensor:
    """The masks that a style merges."""
    if style["score_filter"]:
        return kept[matcher.choose_close(totals[kept], style["num_merging_mask"], style["score"], style["score_norm"])]
    return kept[matcher.choose_best(totals[kept], style["num_merging_mask"], style["topk_scores_threshold"])]


# ---------------------------------------------------------------- the whole

# The official option -> ours: of the matcher, of its filters, of its generator.
MATCHER = {"alpha": "alpha", "beta": "beta", "exp": "exponent", "num_merging_mask": "merge", "use_box": "use_box"}
GENERATOR = {
    "pred_iou_thresh": "grid_iou", "stability_score_thresh": "grid_stability", "sel_pred_iou_thresh": "iou",
    "sel_stability_score_thresh": "stability", "stability_score_offset": "offset", "box_nms_thresh": "nms",
    "sel_multimask_output": "multimask",
}  # fmt: skip


def options(case: Case) -> dict[str, Any]:
    """The keyword numbers of ours."""
    theirs, filters, generator = (case.config[name] for name in ("matcher", "filters", "generator"))
    ours = {MATCHER[name]: value for name, value in theirs.items() if name in MATCHER}
    ours |= {GENERATOR[name]: value for name, value in generator.items() if name in GENERATOR}
    ours |= {name: filters[name] for name in FILTERS} | {"share": filters["topk_scores_threshold"]}
    ours["closeness"] = (filters["score"], filters["score_norm"]) if filters["score_filter"] else None
    ours |= {"sizes": tuple(theirs["sample_range"]), "draws": theirs["max_sample_iterations"]}
    ours["num_centers"] = 0 if theirs["use_points_or_centers"] else theirs["num_centers"]
    ours["points_per_side"] = generator["points_per_side"] if generator["dense_pred"] else 0
    return {**ours, "threshold": case.config["mask_threshold"]}


def models(case: Case) -> tuple[Any, Any]:
    """DINOv2 and SAM from the official names of the case."""
    tensors, dinov2, sam = case.checkpoint(), case.config["dinov2"], case.config["sam"]
    prefixes = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
    parts = {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}
    rest = {name: tensor for name, tensor in tensors.items() if name not in parts}
    return build(rest, "dinov2", num_heads=dinov2["num_heads"]), build(parts, "sam", decoder_heads=sam["decoder_heads"])


def run_e2e(case: Case, device: torch.device) -> list[Line]:
    """The whole, from two pictures and a mask to a mask, with every step on the way."""
    features, sam = models(case)
    model = matcher.Matcher(features.to(device), SAMProposer(sam.to(device)), **options(case)).eval()
    reference = rearrange(case.tensor("in.ref_images").double() / 255, "b h w c -> b c h w").to(device)
    target = rearrange(case.tensor("in.tar_image").double() / 255, "h w c -> c h w").to(device)
    masks = case.tensor("in.ref_masks").double().to(device)
    found = model(reference, masks, target, seed=case.config["python_random_seed"])
    computed: dict[str, Any] = {
        "out.ref_masks_pool": found.marked.double(),
        "out.ref_feats": F.normalize(model.describe(reference), dim=-1),
        "out.tar_feats": F.normalize(model.describe(target[None]), dim=-1),
        "out.S": found.matches.similarity,
        "out.points": found.points,
        "out.kept_count": torch.tensor([len(found.points)]),
        **{name: value for name, value in assignments(found.matches).items() if name in case.arrays},
        **clustered(model, found, case),
        **{f"out.prompts.n{sets.shape[1]}": sets for sets in found.prompts},
        **proposed(found),
        **{f"out.{name}": values for name, values in found.scores._asdict().items()},
        "out.mask": found.mask[None],
        **low_logits(case, model, found, target),
    }
    if found.box is not None:
        computed["out.box"] = found.box
    rows = dict.fromkeys(("out.ref_feats", "out.tar_feats"), "every 2nd")
    return case.judge(computed, {**rows, "out.S": "every 4th"})


def clustered(model: matcher.Matcher, found: matcher.Result, case: Case) -> dict[str, Tensor]:
    """k-means by itself, from the same seed."""
    if "out.kmeans.centers" not in case.arrays:
        return {}
    fresh = torch.Generator().manual_seed(case.config["torch_manual_seed"])
    _, nearest, start = matcher.k_means(found.points.float(), len(found.centers), fresh)
    return {"out.kmeans.centers": found.centers, "out.kmeans.init": start, "out.kmeans.assign": nearest}


def proposed(found: matcher.Result) -> dict[str, Tensor]:
    """The proposals as the official generator describes them: boxes as x, y, width, height."""
    boxes = torch.tensor([one.box for one in found.proposals])
    return {
        "out.proposals": torch.from_numpy(np.packbits(found.masks.numpy())),
        "out.proposals_shape": torch.tensor(found.masks.shape),
        "out.predicted_iou": torch.tensor([one.predicted_iou for one in found.proposals], dtype=torch.float64),
        "out.stability_score": torch.tensor([one.stability for one in found.proposals], dtype=torch.float64),
        "out.bbox": torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1),
    }


def low_logits(case: Case, model: matcher.Matcher, found: matcher.Result, target: Tensor) -> dict[str, Tensor]:
    """SAM's small logits of the first few proposals, every so many rows and columns, as the names of the case say.

    They are known by their predicted IoU.
    """
    generator, size = model.generator, target.shape[-2:]
    pixels = rearrange(target * 255, "c h w -> h w c").to(torch.uint8).cpu().numpy()
    embedding, sam = generator.look(Image.fromarray(pixels)).seen.embedding, generator.proposer.sam
    box = None if found.box is None else PaddedPreprocess(sam.image_size).to_square(found.box.double(), size)
    asked = [(sets.double(), model.keep.multimask, box) for sets in found.prompts]
    if model.points_per_side:
        asked.append(((matcher.point_grid(model.points_per_side) * size[0])[:, None], False, None))
    low, sure = [], []
    for points, multimask, box in asked:
        clicks = PaddedPreprocess(sam.image_size).to_square(points, size)[None].to(embedding)
        boxes = None if box is None else box.expand(1, len(points), 4).to(embedding)
        labels = torch.ones(clicks.shape[:-1], dtype=torch.long, device=clicks.device)
        masks, iou = sam.decode(embedding, clicks, labels, boxes, multimask=multimask)
        low.append(masks.flatten(0, 2))
        sure.append(iou.flatten())
    wanted = torch.tensor([one.predicted_iou for one in found.proposals]).to(sure[0])
    nearest = (torch.cat(sure)[None] - wanted[:, None]).abs().argmin(dim=1)
    return {
        name[0]: torch.cat(low)[nearest[: int(name[1])], :: int(name[2]), :: int(name[2])]
        for name in case.numbered(r"out\.low_res\.first(\d+)\.s(\d+)")
    }


def is_inside(name: str) -> bool:
    """Features, similarities and k-means lie inside; points, proposals, scores and masks are answers."""
    inside = ("feats", "out.S", "out.C", "sim", "low_res", "k4", "k8", "kmeans")
    return any(word in name for word in inside) and "scores" not in name


ROWS = {
    f"{kind}_{case}": "Matcher"
    for kind, cases in {
        "match": ("dense", "empty_even", "empty_mask", "fallback", "fewshot", "oneshot", "thin"),
        "scores": ("fewshot", "oneshot"),
        "e2e": ("fewshot", "nms", "part", "semantic", "whole"),
    }.items()
    for case in cases
} | {"sampler": "Matcher"}
KINDS = {"match": run_match, "sampler": run_sampler, "scores": run_scores, "e2e": run_e2e}
