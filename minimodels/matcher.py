"""Matcher: show one object in one picture, get it in another one, without any training (lessons 5.2 and 5.3).

Liu et al. 2024, "Matcher: Segment Anything with One Shot Using All-Purpose Feature Matching", section 3.
Follows the numbers of the released code where the paper leaves them open: features before DINOv2's last norm, a patch
is marked if one of its pixels is, two exact assignments in a row, point sets in the order of a Python set.

Notation: shots reference pictures    N patches of a picture    R = shots x N reference patches    D feature width
          K matched points    M mask proposals    H W pixels    h w patch grid
"""

import random
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn

from minimodels.errors import UserError
from minimodels.sam_everything import Keep, MaskGenerator, Proposal, Proposer, point_grid

SQUARE = 14  # pixels a side: stands in the middle where no pixel of any reference mask is marked
MANY_MATCHES = 40  # above it, only the better half is kept
ALL_SETS = 8  # up to so many points every set of them is a prompt
TINY = 1e-6
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's: what DINOv2 reads
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
    from scipy.optimize import linear_sum_assignment  # slow to import

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
) -> list[Int[Tensor, "_ _ 2"]]:
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
    import ot  # slow to import

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


# ---------------------------------------------------------------- Matcher

# The released settings, as keyword numbers of `Matcher`. With five references: semantic merges 5, whole object 5.
SEMANTIC: dict = {
    "sizes": (1, 6), "draws": 64, "num_centers": 0, "points_per_side": 64, "multimask": True, "nms": 0.65,
    "iou": 0.85, "stability": 0.9, "purity": 0.02, "closeness": (0.33, 0.1), "merge": 9,
}  # fmt: skip
WHOLE_OBJECT: dict = {"sizes": (4, 6), "draws": 30, "num_centers": 8, "alpha": 0.8, "beta": 0.2, "exponent": 1.0}
PART: dict = {
    "sizes": (3, 6), "draws": 128, "num_centers": 0, "use_box": True, "coverage": 0.3, "alpha": 0.5, "beta": 0.5,
    "merge": 5,
}  # fmt: skip


class Result(NamedTuple):
    """What Matcher found, and every step on the way (figure 2). The target has H x W pixels."""

    mask: Bool[Tensor, "height width"]
    found: bool  # False where nothing scored `least_score`: then the mask is what Matcher would have guessed
    score: float  # the largest 1 - EMD among the merged proposals, 0 without any
    marked: Bool[Tensor, "R"]  # reference patches that are part of the object
    matches: Matches
    points: Int[Tensor, "K 2"]  # matched, in pixels (x, y)
    box: Int[Tensor, "4"] | None  # around them, where boxes are prompts too
    centers: Int[Tensor, "C 2"]  # what prompts are drawn from: cluster centres, or the points themselves
    prompts: list[Int[Tensor, "_ _ 2"]]
    proposals: list[Proposal]
    masks: Bool[Tensor, "M height width"]  # of the proposals
    scores: Scores
    totals: Float[Tensor, "M"]
    kept: Int[Tensor, "kept"]  # proposals that passed the filters
    chosen: Int[Tensor, "chosen"]  # proposals whose union is the mask, best first


class Matcher(nn.Module):
    """DINOv2 says where the object is, SAM draws it, optimal transport chooses among the drawings.

    `Matcher(dinov2, SAMProposer(sam), **SEMANTIC)`, `**WHOLE_OBJECT`, `**PART` are the three released settings.

    Args:
        features: a `DINOv2`, or whatever has `.patch_size` and `.patch_features(image)`.
        proposer: draws masks where it is asked, as a `SAMProposer` does.
        mean, std: what the pictures are normalised with for `features`.
        sizes, draws: smallest and largest point set, and how many of each size. num_centers: draw them from so many
            cluster centres; 0: from all matched points. use_box: each prompt has the box around the points as well.
        multimask: all masks of each prompt (SAM's three), or one. iou, stability: what a proposal must have.
        points_per_side: it is asked at the points of such a grid, too; 0: not. grid_iou, grid_stability: for these.
        nms: overlap of boxes above which the less certain proposal is dropped; 1: none is.
        alpha, beta, exponent: see `combine`. coverage, emd, purity: see `filter_masks`.
        closeness: numbers of `choose_close`; None: `choose_best` with `share`. merge: at most so many proposals.
        least_score: a best 1 - EMD below it means that the object is not there.
        threshold, offset: the masks' threshold (also that of `mark_patches`), and how stability is measured.
    """

    def __init__(
        self,
        features: Any,
        proposer: Proposer,
        *,
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
        sizes: tuple[int, int] = (4, 6),
        draws: int = 30,
        num_centers: int = 8,
        use_box: bool = False,
        multimask: bool = False,
        iou: float = 0.0,
        stability: float = 0.0,
        points_per_side: int = 0,
        grid_iou: float = 0.88,
        grid_stability: float = 0.95,
        nms: float = 1.0,
        alpha: float = 1.0,
        beta: float = 0.0,
        exponent: float = 0.0,
        coverage: float = 0.0,
        emd: float = 0.0,
        purity: float = 0.0,
        closeness: tuple[float, float] | None = None,
        share: float = 0.7,
        merge: int = 10,
        least_score: float = 0.0,
        threshold: float = 0.0,
        offset: float = 1.0,
    ):
        super().__init__()
        self.features, self.patch_size, self.mean, self.std = features, features.patch_size, mean, std
        self.generator = MaskGenerator(proposer, nms=nms, threshold=threshold)
        self.sizes, self.draws, self.num_centers, self.use_box = sizes, draws, num_centers, use_box
        self.keep = Keep(multimask=multimask, iou=iou, stability=stability, offset=offset)
        self.grid_keep = Keep(multimask=False, iou=grid_iou, stability=grid_stability, offset=offset)
        self.points_per_side, self.least_score = points_per_side, least_score
        self.weights, self.filters = (alpha, beta, exponent), {"coverage": coverage, "emd": emd, "purity": purity}
        self.closeness, self.share, self.merge = closeness, share, merge

    @torch.no_grad()
    def forward(
        self,
        reference_image: Float[Tensor, "shots 3 height width"],
        reference_mask: Float[Tensor, "shots height width"],
        target_image: Float[Tensor, "3 height width"],
        seed: int = 0,
    ) -> Result:
        """Find in the target what the masks mark in the references.

        Args:
            reference_image, target_image: pixels 0-1, squares of one size, a multiple of the patch size (518 in the
                released setting). reference_mask: 1 inside; without any marked pixel a square in the middle is taken.
            seed: of k-means and of the sampler; the released code seeds once for all its pictures.

        Raises:
            UserError: sizes that do not fit, or a mask too thin for `threshold`.
        """
        check_sizes(reference_image, reference_mask, target_image, self.patch_size)
        masks = fill_empty(reference_mask)
        marked = mark_patches(masks, self.patch_size, self.generator.threshold).flatten().cpu()
        if not marked.any():
            raise UserError(f"no patch of the mask is marked by more than {self.generator.threshold}: mark more of it")
        similarity = cosine(self.describe(reference_image), self.describe(target_image[None])).cpu()
        matches = match_patches(similarity, marked)
        points = patch_points(matches.patches, target_image.shape[-1] // self.patch_size, self.patch_size)
        generator = torch.Generator().manual_seed(seed)
        centers = cluster_points(points, self.num_centers, generator) if self.num_centers else points
        prompts = prompt_sets(centers, self.sizes, self.draws, random.Random(seed))
        box = points_box(points) if self.use_box else None
        proposals = self.propose(target_image, prompts, box)
        masks = torch.zeros(len(proposals), *target_image.shape[-2:], dtype=torch.bool)
        for number, proposal in enumerate(proposals):
            masks[number] = torch.from_numpy(proposal.mask)
        scores = score_masks(masks, points, matching_cost(similarity[marked]), self.patch_size)
        totals, kept, chosen = self.choose(scores)
        score = float(scores.emd[chosen].max()) if len(chosen) else 0.0
        found, mask = len(chosen) > 0 and score >= self.least_score, masks[chosen].any(dim=0)
        drawn = (points, box, centers, prompts, proposals, masks)
        return Result(mask, found, score, marked, matches, *drawn, scores, totals, kept, chosen)

    def describe(self, image: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "rows dim"]:
        """Patch features of pictures, one row a patch, picture after picture.

        Pictures may be more precise than the model; what comes out is compared in float32 at least.
        """
        dtype = next(self.parameters(), image).dtype
        image = image.to(torch.promote_types(image.dtype, dtype))
        mean, std = (image.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        rows = rearrange(self.features.patch_features(((image - mean) / std).to(dtype)), "b n d -> (b n) d")
        return rows.to(torch.promote_types(dtype, torch.float32))

    def propose(
        self,
        image: Float[Tensor, "3 height width"],
        prompts: list[Int[Tensor, "_ _ 2"]],
        box: Int[Tensor, "4"] | None,
    ) -> list[Proposal]:
        """The masks of the grid, then of the prompts; the surest first."""
        pixels = rearrange(image * 255, "c h w -> h w c").to(torch.uint8)  # cut, not rounded
        view, found = self.generator.look(Image.fromarray(pixels.cpu().numpy())), []
        if self.points_per_side:
            points = point_grid(self.points_per_side) * image.shape[-1]
            found += self.generator.propose(view, points[:, None], keep=self.grid_keep)
        for sets in prompts:
            boxes = None if box is None else box.double().expand(len(sets), -1)
            found += self.generator.propose(view, sets.double(), boxes, keep=self.keep)
        return self.generator.best(found, self.generator.nms)

    def choose(self, scores: Scores) -> tuple[Float[Tensor, "M"], Int[Tensor, "kept"], Int[Tensor, "chosen"]]:
        """Totals of all proposals, who passed the filters, and who is merged. Without proposals, nobody."""
        totals = combine(scores, *self.weights)
        if not len(totals):
            return totals, (none := torch.zeros(0, dtype=torch.long)), none
        kept = filter_masks(scores, **self.filters)
        if self.closeness is None:
            return totals, kept, kept[choose_best(totals[kept], self.merge, self.share)]
        return totals, kept, kept[choose_close(totals[kept], self.merge, *self.closeness)]


def check_sizes(reference: Tensor, masks: Tensor, target: Tensor, patch_size: int) -> None:
    """Squares of one size that can be cut into patches, and a mask for each reference.

    Raises:
        UserError: they are not.
    """
    height, width = target.shape[-2:]
    if height != width or height % patch_size:
        raise UserError(
            f"Matcher reads squares with sides of {patch_size}, {2 * patch_size} ... pixels, the target has "
            f"{height} x {width}; resize all pictures to one such square (the released setting: 518)"
        )
    if reference.shape[-2:] != target.shape[-2:]:
        sizes = " x ".join(map(str, reference.shape[-2:]))
        raise UserError(f"the reference has {sizes} pixels, the target {height} x {width}: resize them to one size")
    if masks.shape != (len(reference), height, width):
        raise UserError(
            f"the masks have shape {tuple(masks.shape)}, expected {(len(reference), height, width)}: one for each "
            "reference picture, of its size"
        )
