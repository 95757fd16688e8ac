"""Matcher: show one object in one picture, get it in another one, without any training (lessons 5.2 and 5.3).

Liu et al. 2024, "Matcher: Segment Anything with One Shot Using All-Purpose Feature Matching", section 3.
Follows the numbers of the released code where the paper leaves them open: features before DINOv2's last norm, a patch
is marked if one of its pixels is, two exact assignments in a row, point sets in the order of a Python set.

Notation: shots reference pictures    N patches of a picture    R = shots x N reference patches    D feature width
          K matched points    M mask proposals    H W pixels    h w patch grid
"""

import random
from itertools import combinations
from typing import NamedTuple

import numpy as np
import ot
import torch
import torch.nn.functional as F
from einops import einsum, reduce
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

SQUARE = 14  # pixels a side: stands in the middle where no pixel of any reference mask is marked
MANY_MATCHES = 40  # above it, only the better half is kept
ALL_SETS = 8  # up to so many points every set of them is a prompt
TINY = 1e-6
ROUNDS = 100  # of k-means, at most
LIMIT = 10_000_000  # steps of the transport solver: far above what 37 x 37 patches take


# ---------------------------------------------------------------- patch-level matching (section 3.1)


def fill_empty(masks: Float[Tensor, "shots height width"]) -> Float[Tensor, "shots height width"]:
    """The masks; where none of them marks a pixel, a centred square of 14 pixels in each of them."""
    if masks.sum() > 0:
        return masks
    masks = torch.zeros_like(masks)
    top, left = ((size - SQUARE) // 2 for size in masks.shape[-2:])
    masks[:, top : top + SQUARE, left : left + SQUARE] = 1
    return masks


def mark_patches(
    masks: Float[Tensor, "masks height width"], patch_size: int, threshold: float = 0.0
) -> Bool[Tensor, "masks patches"]:
    """(masks, h w) True for patches whose mean is strictly above `threshold`; with 0, one marked pixel is enough."""
    size = patch_size
    return reduce(masks, "m (h ph) (w pw) -> m (h w)", "mean", ph=size, pw=size) > threshold


def cosine(a: Float[Tensor, "rows dim"], b: Float[Tensor, "columns dim"]) -> Float[Tensor, "rows columns"]:
    """Cosine similarity of each row of a with each row of b."""
    return einsum(F.normalize(a, dim=-1), F.normalize(b, dim=-1), "rows d, columns d -> rows columns")


def assign(similarity: Float[Tensor, "rows columns"]) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "pairs"]]:
    """Rows and columns of the pairs with the largest sum of similarities, each row and each column in one at most.

    Exact (the Hungarian problem); min(rows, columns) pairs, rows ascending.
    """
    rows, columns = linear_sum_assignment(similarity.cpu().numpy(), maximize=True)
    return torch.from_numpy(rows), torch.from_numpy(columns)


class Matches(NamedTuple):
    """Each step of `match_patches`. Patches are numbered row by row, reference patches picture after picture."""

    similarity: Float[Tensor, "R N"]
    rows: Int[Tensor, "forward"]  # of the marked reference patches, which has a partner
    reference: Int[Tensor, "forward"]  # its number among all reference patches
    target: Int[Tensor, "forward"]  # its partner in the target
    strength: Float[Tensor, "forward"]  # their similarity
    back: Int[Tensor, "forward"]  # the reference patch that the partner is assigned to on the way back
    retained: Bool[Tensor, "forward"]  # whether that one is marked
    patches: Int[Tensor, "matched"]  # target patches in the end, in the order that the sampler draws from


def match_patches(similarity: Float[Tensor, "R N"], marked: Bool[Tensor, "R"]) -> Matches:
    """From marked reference patches to target patches and back: what does not come back to the mask was an accident.

    Section 3.1, eq. 1 to 3. The way back may end at any marked patch. If no pair comes back, all forward pairs stay.
    Of more than 40 pairs the half with the larger similarity stays.
    """
    candidates = torch.where(marked)[0]
    rows, target = assign(similarity[candidates])
    reference = candidates[rows]
    _, back = assign(similarity.T[target])  # against all reference patches, not the marked ones alone
    retained = marked[back]
    stay = retained if retained.any() else torch.ones_like(retained)
    strength = similarity[reference, target]
    order = torch.argsort(strength[stay], descending=True)
    best = target[stay][order[: len(order) // 2 if len(order) > MANY_MATCHES else None]]
    patches = torch.tensor(list(set(best.tolist())))  # the order of a set of small integers in CPython
    return Matches(similarity, rows, reference, target, strength, back, retained, patches)


def patch_points(patches: Int[Tensor, "matched"], columns: int, patch_size: int) -> Int[Tensor, "matched 2"]:
    """Pixel (x, y) in the middle of each patch of a grid with so many columns."""
    return torch.stack([patches % columns, patches // columns], dim=-1) * patch_size + patch_size // 2


def points_box(points: Int[Tensor, "K 2"]) -> Int[Tensor, "4"]:
    """(left, top, right, bottom) of the points, without a margin."""
    return torch.cat([points.min(dim=0).values, points.max(dim=0).values])


def matching_cost(similarity: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """What it costs to move a patch onto another: 0 for the same direction, 1 for the opposite one."""
    return (1 - similarity) / 2


# ---------------------------------------------------------------- robust prompt sampler (section 3.2)


def first_centers(
    points: Float[Tensor, "K 2"], count: int, generator: torch.Generator | None = None
) -> Int[Tensor, "count"]:
    """k-means++ (Arthur and Vassilvitskii 2007): which points are the first centres.

    The first is drawn evenly, each further one with a chance that grows with its squared distance to the nearest.
    """
    centers = [int(torch.randint(len(points), (1,), generator=generator))]
    while len(centers) < count:
        chances = center_chances(points, points[centers])
        centers.append(int(torch.multinomial(chances, 1, generator=generator)))
    return torch.tensor(centers)


def center_chances(points: Float[Tensor, "K 2"], centers: Float[Tensor, "C 2"]) -> Float[Tensor, "K"]:
    """The chance of each point to be the next centre."""
    squared = (distances(points, centers).min(dim=1).values + TINY) ** 2
    return squared / squared.sum()


def distances(points: Float[Tensor, "K 2"], centers: Float[Tensor, "C 2"]) -> Float[Tensor, "K C"]:
    """Euclidean, in pixels."""
    return (points[:, None] - centers[None]).norm(dim=-1)


def k_means(
    points: Float[Tensor, "K 2"], count: int, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "count 2"], Int[Tensor, "K"], Int[Tensor, "count"]]:
    """One run: centres, the centre of each point, and which points were the first centres. A cluster may be empty."""
    start = first_centers(points, count, generator)
    centers = points[start]
    for _ in range(ROUNDS):
        nearest = distances(points, centers).argmin(dim=1)
        moved = torch.stack(
            [points[nearest == c].mean(dim=0) if (nearest == c).any() else centers[c] for c in range(count)]
        )
        if torch.equal(moved, centers):
            break
        centers = moved
    return centers, nearest, start


def cluster_points(
    points: Int[Tensor, "K 2"], count: int, generator: torch.Generator | None = None
) -> Int[Tensor, "C 2"]:
    """At most `count` centres, in whole pixels; k-means is run again while a cluster ends up empty.

    It runs in float32, as in the released code: in float64 the same seed would draw other centres.
    """
    count = min(count, len(points))
    while True:
        centers, nearest, _ = k_means(points.float(), count, generator)
        if len(nearest.unique()) == count:
            return centers.long()


def prompt_sets(
    points: Int[Tensor, "K 2"], sizes: tuple[int, int], draws: int, dice: random.Random
) -> list[Int[Tensor, "sets size 2"]]:
    """Sets of points for SAM: for each size from `sizes[0]` to `sizes[1]`, (sets, size, 2).

    Up to 8 points: every set there is. More: `draws` random ones; no point twice in a set, but a set may come twice.
    """
    count, found = len(points), []
    for size in range(min(sizes[0], count), min(sizes[1], count) + 1):
        if count > ALL_SETS:
            chosen = [tuple(dice.sample(range(count), size)) for _ in range(draws)]
        else:  # those without the last point first
            chosen = sorted(combinations(range(count), size), key=lambda one: one[::-1])
        found.append(points[torch.tensor(chosen)])
    return found


# ---------------------------------------------------------------- instance-level matching (section 3.3)


class Scores(NamedTuple):
    """Of each proposal; all from 0 (bad) to about 1 (good)."""

    emd: Float[Tensor, "M"]  # 1 - the earth mover's distance between reference object and proposal
    purity: Float[Tensor, "M"]  # matched points inside, for each patch of the proposal
    coverage: Float[Tensor, "M"]  # share of the matched points that lie inside


def score_masks(
    proposals: Bool[Tensor, "M height width"],
    points: Int[Tensor, "K 2"],
    cost: Float[Tensor, "marked N"],
    patch_size: int,
) -> Scores:
    """How well each proposal matches the object shown (section 3.3, eq. 5 to 7).

    Args:
        proposals: at the target's size. points: all matched points in pixels (x, y), not the sampled ones.
        cost: (1 - cosine) / 2 of marked reference patches and all target patches.
    """
    patches = mask_patches(proposals, patch_size)
    inside = proposals[:, points[:, 1], points[:, 0]].sum(dim=1).to(cost)
    return Scores(transport_scores(cost, patches), inside / patches.sum(dim=1) + TINY, inside / len(points) + TINY)


def mask_patches(proposals: Bool[Tensor, "M height width"], patch_size: int) -> Bool[Tensor, "M patches"]:
    """The patches that a mask touches; an empty mask counts as touching all, as in the released code."""
    size = patch_size
    touched = reduce(proposals, "m (h ph) (w pw) -> m (h w)", "any", ph=size, pw=size)
    return touched | ~touched.any(dim=1, keepdim=True)


def transport_scores(cost: Float[Tensor, "marked N"], patches: Bool[Tensor, "M N"]) -> Float[Tensor, "M"]:
    """1 - earth mover's distance from the marked reference patches to each proposal's, every patch equally heavy.

    Exact (a linear programme, by POT). Proposals that touch the same patches are solved once.
    """
    different, which = np.unique(patches.cpu().numpy(), axis=0, return_inverse=True)
    table = cost.cpu().double().numpy()
    scores = [1 - ot.emd2([], [], table[:, columns], numItermax=LIMIT) for columns in different]
    return torch.tensor(scores, dtype=cost.dtype)[which]


# ---------------------------------------------------------------- controllable merging (section 3.4)


def combine(scores: Scores, alpha: float, beta: float, exponent: float) -> Float[Tensor, "M"]:
    """alpha emd + beta purity coverage^exponent (eq. 8)."""
    return alpha * scores.emd + beta * scores.purity * scores.coverage**exponent


def filter_masks(scores: Scores, *, coverage: float, emd: float, purity: float) -> Int[Tensor, "kept"]:
    """Numbers of the proposals that pass three filters one after the other; 0 turns a filter off.

    A filter asks for no more than the best that is left has, so one proposal passes always.
    """
    kept = torch.arange(len(scores.emd))
    for values, least in ((scores.coverage, coverage), (scores.emd, emd), (scores.purity, purity)):
        if least > 0:
            left = values[kept]
            kept = kept[left >= left.max().clamp(max=least)]
    return kept


def choose_close(totals: Float[Tensor, "M"], count: int, most: float, apart: float) -> Int[Tensor, "chosen"]:
    """The semantic rule: the best, and those whose distance 1 - total is below `most` and near the smallest one.

    Near: less than `apart` times the largest of these distances above it. At most `count`, best first.
    """
    far, order = (1 - totals).sort(stable=True)
    good = far < most
    good[0] = True
    far, order = far[good], order[good]
    return order[(far - far[0]) / (far.max() + TINY) < apart][:count]


def choose_best(totals: Float[Tensor, "M"], count: int, share: float) -> Int[Tensor, "chosen"]:
    """The other rule: of the `count` best those above `share` of the best; with 0 those above 0. Best first."""
    values, order = totals.sort(descending=True, stable=True)
    values, order = values[:count], order[:count]
    good = values / values[0] > share if share > 0 else values > 0
    good[0] |= share > 0
    return order[good]
