"""Depth maps of point clouds: PointCLIP's and PointCLIP V2's official projections."""

import torch
from torch import Tensor

from minimodels import depth_maps as maps_of
from tests.golden import Case, Line, judge_one


def run_depth_maps(case: Case, device: torch.device) -> list[Line]:
    """The six maps of every cloud; the views' matrices."""
    computed: dict[str, Tensor] = {}
    for name in clouds(case):
        points = case.tensor(f"in.{name}").double().to(device)
        maps = maps_of.depth_maps(points, case.config["resolution"], case.config["shift"])
        computed |= {f"out.{name}": maps, f"f32.{name}": maps.float()}
    turned = torch.stack([maps_of.rotation(*view) for view in maps_of.SIX_VIEWS])
    matrices = judge_one("in.rot", turned, case.tensor("in.rot"), case.tolerance, judged=True)
    return [matrices, *case.judge(computed)]


def run_realistic_projection(case: Case, device: torch.device) -> list[Line]:
    """The views whose layers no last bit decides: every third pixel, sums, sums of squares."""
    lines = []
    for name in clouds(case):
        views = case.config["robust_views"][name]
        points = case.tensor(f"in.{name}").double().to(device)
        maps = maps_of.dense_depth_maps(points, case.config["resolution"], case.config["depth"]).cpu()[views]
        computed = {
            "image_every3": maps[:, ::3, ::3],
            "sum": maps.sum(dim=(1, 2)),
            "square": (maps**2).sum(dim=(1, 2)),
        }
        for part, ours in computed.items():
            golden = case.tensor(f"out.{part}.{name}")[views]
            lines.append(judge_one(f"out.{part}.{name}", ours, golden, case.tolerance, judged=True))
        lines += [*judge_grid(case, name, points, views), *judge_one_view(case, name, maps, views)]
    return lines


def judge_grid(case: Case, name: str, points: Tensor, views: list[int]) -> list[Line]:
    """The cells of the judged views that are not empty, where the case stores them, and their depths."""
    if f"out.grid_index.{name}" not in case.arrays:
        return []
    layers, side = case.config["depth"], case.config["resolution"]
    grid = torch.stack([maps_of.cells(turned, side, layers) for turned in maps_of.ten_sides(points)]).cpu().flatten()
    index, value = (case.tensor(f"out.grid_{part}.{name}") for part in ("index", "value"))
    golden = torch.zeros_like(grid).index_put((index.long(),), value)
    ours, theirs = (part.reshape(len(maps_of.TEN_VIEWS), -1)[views] for part in (grid, golden))
    places, known = (part.nonzero()[:, 1] for part in (ours, theirs))
    return [
        judge_one(f"out.grid_index.{name}", places, known, case.tolerance, judged=True),
        judge_one(f"out.grid_value.{name}", ours, theirs, case.tolerance, judged=True),
    ]


def judge_one_view(case: Case, name: str, maps: Tensor, views: list[int]) -> list[Line]:
    """Views that the case stores whole, those that are judged."""
    stored = case.numbered(rf"out\.image_view(\d+)\.{name}")
    return [
        judge_one(found[0], maps[views.index(int(found[1]))], case.tensor(found[0]), case.tolerance, judged=True)
        for found in stored
        if int(found[1]) in views
    ]


def clouds(case: Case) -> list[str]:
    """Every cloud that the case gives points and answers of."""
    answers = {name.rpartition(".")[2] for name in case.arrays if name.startswith("out.")}
    return [name for name in sorted(answers) if f"in.{name}" in case.arrays]


KINDS = {"depth_maps": run_depth_maps, "realistic_projection": run_realistic_projection}
ROWS = {"projection_zs": "PointCLIP depth maps", "projection_v2": "PointCLIP V2 depth maps"}
