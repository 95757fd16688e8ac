"""Point clouds as pictures: depth seen from several sides, so that a CLIP can look at them (lesson 3.10).

Zhang et al. 2022, "PointCLIP: Point Cloud Understanding by CLIP", section 3.1 (`depth_maps`); Zhu et al. 2023,
"PointCLIP V2: Prompting CLIP and GPT for Powerful 3D Open-world Learning", section 3.2 (`dense_depth_maps`).
Rows of a map come from x, columns from y, depth from z.

Notation: P points    V views    R side of a map in pixels
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from minimodels.errors import UserError

SIX_VIEWS = ((0, 0, 90), (90, 0, 90), (180, 0, 90), (270, 0, 90), (0, -90, 90), (0, 90, 90))  # degrees about x, y, z
TEN_VIEWS = (*((turn, 0, 90) for turn in (45, 135, 225, 315, 0, 90, 180, 270)), (0, -90, 90), (0, 90, 90))
TINY = 1e-12
FARTHEST = 1e9  # of a coordinate


def rotation(about_x: int | float, about_y: int | float, about_z: int | float) -> Float[Tensor, "3 3"]:
    """Turn about z first, then y, then x, by right-handed angles in degrees."""
    (cx, sx), (cy, sy), (cz, sz) = (
        (math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in (about_x, about_y, about_z)
    )
    turn_x = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]], dtype=torch.float64)
    turn_y = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]], dtype=torch.float64)
    turn_z = torch.tensor([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]], dtype=torch.float64)
    return turn_x @ turn_y @ turn_z


def check_points(points: Tensor) -> None:
    """Raise UserError unless these are finite points (P, 3), at least one, none farther away than any object."""
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not points.is_floating_point():
        kind = str(points.dtype).removeprefix("torch.")
        raise UserError(f"a point cloud is (points, 3) of float, at least one point, not {tuple(points.shape)} {kind}")
    known = points.abs() <= FARTHEST
    if not known.all():
        wrong = int((~known).any(dim=1).sum())
        raise UserError(f"{wrong} of {len(points)} points are NaN, infinite or beyond {FARTHEST:g}: leave them out")


def depth_maps(
    points: Float[Tensor, "points 3"], side: int = 128, distance: float = 1.6
) -> Float[Tensor, "views side side"]:
    """Six perspective views (V, R, R): a pixel is the harmonic mean of its points' depths, 0 where there is none.

    Nothing hides anything: points in one pixel are blended, near ones count more. PointCLIP section 3.1.

    Args:
        points: (P, 3), centred, within a sphere of radius 1.
        side: R. distance: from the camera to the centre; focal length 1.

    Raises:
        UserError: no points, or some that are not finite.
    """
    check_points(points)
    maps = []
    for view in SIX_VIEWS:
        x, y, z = (points.double() @ rotation(*view).T.to(points.device)).unbind(dim=1)  # (P,) each
        z = z + distance
        row, column = (((at / (z + TINY) + 1) * side / 2 - 0.5).ceil() for at in (x, y))  # halves go down
        seen = (row >= 0) & (row < side) & (column >= 0) & (column < side) & (z >= 0)
        pixel = (row * side + column)[seen].long()
        nearness = 1 / (z[seen] + TINY)
        total = nearness.new_zeros(side * side).index_add(0, pixel, nearness)
        weighted = nearness.new_zeros(side * side).index_add(0, pixel, nearness * z[seen])
        maps.append((weighted / total.clamp(min=TINY)).reshape(side, side))
    return torch.stack(maps).to(points)


def dense_depth_maps(
    points: Float[Tensor, "points 3"], side: int = 112, layers: int = 8
) -> Float[Tensor, "views side_2 side_2"]:
    """Ten views (V, R - 2, R - 2) with closed surfaces, near is dark, the background white. PointCLIP V2 section 3.2.

    The points are put in a grid of `layers` x R x R cells; each layer is widened by a maximum and smoothed, then the
    layers are looked through.

    Raises:
        UserError: no points, some that are not finite, or all at one place.
    """
    check_points(points)
    return torch.stack([look_through(cells(turned, side, layers)) for turned in ten_sides(points)]).to(points)


def ten_sides(points: Float[Tensor, "points 3"]) -> Iterator[Float[Tensor, "points 3"]]:
    """The points in float64 as each of the ten views sees them: turned, then tilted, so that one looks from above."""
    for number, view in enumerate(TEN_VIEWS):
        tilt = rotation(0, 20 if number < 8 else 12, 0)
        yield points.double() @ (tilt @ rotation(*view)).T.to(points.device)


def cells(points: Float[Tensor, "points 3"], side: int, layers: int) -> Float[Tensor, "layers side side"]:
    """The grid of one view: in each cell its largest depth, a real number of 1 to layers - 2; 0 where no point is."""
    low, high = points.amin(dim=0), points.amax(dim=0)
    longest = (high - low).max()
    if longest == 0:
        raise UserError("all points lie at one place: there is no shape to look at")
    x, y, z = ((points - (low + high) / 2) / longest * 2).unbind(dim=1)  # -1 to 1
    row, column = (((at * 0.8 + 1) / 2 * side).ceil().clamp(1, side - 2).long() for at in (x, y))
    depth = ((z + 1) / 2 + 0.2) / (1 + 0.2) * (layers - 2)  # the order of operations decides at borders of layers
    cell = (depth.ceil().long() * side + row) * side + column
    grid = points.new_zeros(layers * side * side)
    return grid.scatter_reduce(0, cell, depth.clamp(1, layers - 2), "amax").reshape(layers, side, side)


def look_through(grid: Float[Tensor, "layers side side"]) -> Float[Tensor, "side_2 side_2"]:
    """A grid as one picture: closed, smoothed, the largest value of all layers, scaled to 0 .. 1 and inverted."""
    closed = F.max_pool2d(grid[:, None], 7, stride=1, padding=2)  # (layers, 1, R - 2, R - 2)
    offset = torch.tensor([-1.0, 0.0, 1.0], dtype=grid.dtype, device=grid.device)
    bell = (-0.5 * (offset / 3) ** 2).exp()  # a Gaussian of sigma 3, cut to 3 x 3
    kernel = bell[:, None] * bell / bell.sum() ** 2
    image = F.conv2d(closed, kernel[None, None], padding=1).amax(dim=(0, 1))  # (R - 2, R - 2)
    return 1 - image / image.max()


def region(depth: Float[Tensor, "side side"]) -> Int[Tensor, "4"]:
    """The box (left, top, right, bottom) around what is not background (0), in pixels, the last ones outside.

    Raises:
        UserError: the map is empty.
    """
    rows, columns = (depth > 0).nonzero(as_tuple=True)
    if not len(rows):
        raise UserError(
            "an empty depth map: no point of the cloud is in view; centre it and scale it into a sphere of radius 1"
        )
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
