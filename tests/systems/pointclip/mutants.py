"""Wrong depth maps: turns, axes, rounding, blending, and the steps of the dense ones."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints_convert.proof.mutants import Mutant, StandIn
from minimodels import depth_maps as maps
from minimodels.depth_maps import rotation

THIN, DENSE = ("projection_zs",), ("projection_v2",)


def thin(
    *,
    swapped: bool = False,
    round_up: bool = False,
    mean: bool = False,
    nearest: bool = False,
    behind: bool = False,
    inverse: bool = False,
    orthographic: bool = False,
) -> StandIn:
    """`depth_maps` with one thing wrong."""

    def depth_maps(points: Tensor, side: int = 128, distance: float = 1.6) -> Tensor:
        made = []
        for view in maps.SIX_VIEWS:
            turn = rotation(*view).T if not inverse else rotation(*view)
            x, y, z = (points.double() @ turn).unbind(dim=1)
            z = z + distance
            depth = torch.ones_like(z) if orthographic else z
            places = [(at / depth + 1) * side / 2 for at in (x, y)]
            row, column = (at.floor() if round_up else (at - 0.5).ceil() for at in places)
            row, column = (column, row) if swapped else (row, column)
            seen = (row >= 0) & (row < side) & (column >= 0) & (column < side) & ((z >= 0) | behind)
            pixel, z = (row * side + column)[seen].long(), z[seen]
            weight = torch.ones_like(z) if mean else 1 / z
            total = z.new_zeros(side * side).index_add(0, pixel, weight)
            image = z.new_zeros(side * side).index_add(0, pixel, weight * z) / total.clamp(min=1e-12)
            if nearest:
                near = z.new_full((side * side,), torch.inf).scatter_reduce(0, pixel, z, "amin")
                image = near.where(near.isfinite(), 0)
            made.append(image.reshape(side, side))
        return torch.stack(made)

    return StandIn(maps, "depth_maps", depth_maps)


def other(**numbers: Any) -> StandIn:
    """`look_through` with another window, spread or order."""
    window, sigma, smooth, largest = (
        numbers.get(key, usual) for key, usual in (("window", 7), ("sigma", 3.0), ("smooth", True), ("largest", True))
    )

    def look_through(grid: Tensor) -> Tensor:
        closed = F.max_pool2d(grid[:, None], window, stride=1, padding=2 if window == 7 else 1)
        offset = torch.tensor([-1.0, 0.0, 1.0], dtype=grid.dtype)
        bell = (-0.5 * (offset / sigma) ** 2).exp()
        kernel = (bell[:, None] * bell / bell.sum() ** 2)[None, None]
        image = F.conv2d(closed, kernel, padding=1) if smooth else closed
        image = image.amax(dim=(0, 1)) if largest else image.mean(dim=(0, 1))
        return 1 - image / image.max() if numbers.get("inverted", True) else image / image.max()

    return StandIn(maps, "look_through", look_through)


def turned(order: str) -> StandIn:
    """Turns about the axes in another order, or to the other side."""

    def wrong(about_x: float, about_y: float, about_z: float) -> Tensor:
        if order == "back":
            return rotation(-about_x, -about_y, -about_z)
        return rotation(0, 0, about_z) @ rotation(0, about_y, 0) @ rotation(about_x, 0, 0)

    return StandIn(maps, "rotation", wrong)


MUTANTS = [
    Mutant("turned to the other side", turned("back"), cases=(*THIN, *DENSE)),
    Mutant("turned in the other order", turned("other"), cases=THIN),
    Mutant("rows and columns swapped", thin(swapped=True), cases=THIN),
    Mutant("pixels rounded down", thin(round_up=True), cases=THIN),
    Mutant("the plain mean of the depths", thin(mean=True), cases=THIN),
    Mutant("the nearest point hides the others", thin(nearest=True), cases=THIN),
    Mutant("points behind the camera are seen", thin(behind=True), cases=THIN),
    Mutant("the inverse turn", thin(inverse=True), cases=THIN),
    Mutant("no perspective", thin(orthographic=True), cases=THIN),
    Mutant(
        "the views of the other paper", StandIn(maps, "TEN_VIEWS", (*maps.SIX_VIEWS, *maps.SIX_VIEWS[:4])), cases=DENSE
    ),
    Mutant("a smaller window", other(window=5), cases=DENSE),
    Mutant("another spread", other(sigma=1.0), cases=DENSE),
    Mutant("not smoothed", other(smooth=False), cases=DENSE),
    Mutant("the mean of the layers", other(largest=False), cases=DENSE),
    Mutant("a black background", other(inverted=False), cases=DENSE),
]
