"""Matcher's golden cases: patch matching, the prompt sampler, the scores of proposals, the whole from two pictures."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minimodels import matcher
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
        "out.S": similarity[::2, ::2],
        "out.C": matcher.matching_cost(similarity)[::2, ::2],
        "out.points": points,
        "out.kept_count": torch.tensor([len(found.patches)]),
        "out.box": matcher.points_box(points),
        **assignments(found),
    }
    return case.judge(computed)


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
    """k-means++ with its draws, and the point sets of every range."""
    computed: dict[str, Any] = {}
    for name in ("few", "many", "two"):
        points = case.tensor(f"in.{name}.points")
        for count in case.config["num_centers"]:
            computed |= {f"out.{name}.k{count}.{key}": value for key, value in clusters(case, points, count).items()}
    for name, options in case.config["sampler"].items():
        points = case.tensor(f"in.{name.split('.')[0]}.points")
        dice = random.Random(case.config["python_random_seed"])
        sets = matcher.prompt_sets(points, tuple(options["sample_range"]), options["max_iterations"], dice)
        computed |= {f"out.{name}.n{one.shape[1]}": one for one in sets}
    for total, size in ((5, 3), (4, 2)):
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


KINDS = {"match": run_match, "sampler": run_sampler, "scores": run_scores}
