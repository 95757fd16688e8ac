"""Everything in a picture: asked at a grid of points, the answers judged, sorted and cleaned (lesson 5.1).

Kirillov et al. 2023, "Segment Anything", section 5 and appendix B; follows the released automatic mask generator, its
numbers and the order of its steps. It asks SAM, or whatever else draws masks where it is asked (`Proposer`).

Notation: H W pixels of the picture or of one crop    P prompts    M masks    n proposals. Boxes are x0, y0, x1, y1 in
pixels and INCLUDE their last column and row.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from PIL import Image
from torch import Tensor

from minimodels.pixels.preprocess_padded import PaddedPreprocess
from minimodels.sam import POSITIVE, SAM

NEAR = 20  # pixels: a box so close to its crop's edge is taken for cut off
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


# What is known of many masks at once: stability, boxes, edges, overlaps.


def stability(
    logits: Float[Tensor, "*masks height width"], threshold: float = 0.0, offset: float = 1.0
) -> Float[Tensor, "*masks"]:
    """How little a mask changes when its threshold moves by `offset` up or down: their IoU, one inside the other.

    NaN where even the larger one is empty. Pixels are counted in float32 at least: half precision ends at 65504.
    """
    inner = (logits > threshold + offset).sum(dim=(-2, -1))
    outer = (logits > threshold - offset).sum(dim=(-2, -1))
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return inner.to(dtype) / outer.to(dtype)


def mask_boxes(masks: Bool[Tensor, "masks height width"]) -> Int[Tensor, "masks 4"]:
    """The box of each mask; 0, 0, 0, 0 for an empty one."""
    sides = []
    for line in (masks.any(dim=1), masks.any(dim=2)):  # (n, W), (n, H)
        first, last = line.int().argmax(dim=1), line.shape[1] - 1 - line.int().flip(1).argmax(dim=1)
        sides.append((first, last))
    (x0, x1), (y0, y1) = sides
    boxes = torch.stack([x0, y0, x1, y1], dim=1)  # (n, 4)
    return boxes * masks.flatten(1).any(dim=1)[:, None]


def near_crop_edge(
    boxes: Float[Tensor, "masks 4"] | Int[Tensor, "masks 4"], crop: Sequence[int], size: tuple[int, int]
) -> Bool[Tensor, "masks"]:
    """Whether a box (in the crop's own pixels) ends near an edge of its crop that is no edge of the picture."""
    height, width = size
    exact = torch.promote_types(boxes.dtype, torch.float32)  # of pixels
    crop_edges = torch.tensor(crop, dtype=exact, device=boxes.device)
    picture_edges = torch.tensor([0, 0, width, height], dtype=exact, device=boxes.device)
    boxes = boxes + crop_edges[[0, 1, 0, 1]]
    near_crop, near_picture = ((boxes - edges).abs() <= NEAR for edges in (crop_edges, picture_edges))
    return (near_crop & ~near_picture).any(dim=1)


def suppress(boxes: Any, scores: Any, threshold: float) -> list[int]:
    """Non-maximum suppression: from the best score down, drop the boxes that overlap a kept one by more IoU.

    Args:
        boxes: (n, 4). Their sides count x1 - x0, one pixel less than they have, and overlaps are rounded to float32,
            as torchvision is asked by the released code. scores: (n).

    Returns:
        The kept ones, by falling score; equal scores in their order.
    """
    boxes, scores = (np.asarray(torch.as_tensor(numbers).cpu(), dtype=np.float64) for numbers in (boxes, scores))
    boxes = boxes.astype(np.float32)
    order, kept = np.argsort(-scores, kind="stable"), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        low, high = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (high - low).clip(min=0).prod(axis=1)
        union = area[best] + area[order] - shared
        overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0).astype(np.float64)
        order = order[overlap <= threshold]
    return kept


# One mask: its code, its small regions.


def encode_runs(mask: ndarray) -> list[int]:
    """Run lengths of a mask read column by column: background first, 0 where the first pixel is foreground."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [len(pixels)]])).tolist()
    return [0, *runs] if pixels[0] else runs


def decode_runs(runs: Sequence[int], size: tuple[int, int]) -> ndarray:
    """The mask (H, W) of run lengths."""
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size, order="F")


def clean(mask: ndarray, area: int, *, holes: bool) -> tuple[ndarray, bool]:
    """Fill the holes of a mask, or remove its islands, of fewer than `area` pixels; and whether that changed it.

    Regions touch over edges and corners. Where all islands are too small, the largest stays.
    """
    from scipy import ndimage  # slow to import

    regions, count = ndimage.label(mask ^ holes, EIGHT_NEIGHBOURS)
    areas = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    small = np.flatnonzero(areas < area) + 1
    if not len(small):
        return mask, False
    if holes:
        return mask | np.isin(regions, small), True
    large = np.flatnonzero(areas >= area) + 1
    return np.isin(regions, large if len(large) else [areas.argmax() + 1]), True


# Where to ask.


def point_grid(side: int) -> Float[Tensor, "points 2"]:
    """The middles of `side` x `side` cells, (x, y) between 0 and 1, row by row."""
    middle = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return rearrange(torch.stack([x, y], dim=-1), "h w xy -> (h w) xy")


def crop_boxes(size: tuple[int, int], layers: int, overlap: float) -> tuple[list[list[int]], list[int]]:
    """The whole picture, then 2 x 2 crops that overlap, then 4 x 4 ...; and the layer of each.

    Here the last column and row of a crop are not included. `overlap` is a part of the shorter side.
    """
    height, width = size
    boxes, which = [[0, 0, width, height]], [0]
    for layer in range(1, layers + 1):
        count = 2**layer
        shared = int(overlap * min(size) * 2 / count)
        crop_w, crop_h = (math.ceil((shared * (count - 1) + side) / count) for side in (width, height))
        for left, top in product(range(count), range(count)):
            x0, y0 = (crop_w - shared) * left, (crop_h - shared) * top
            boxes.append([x0, y0, min(x0 + crop_w, width), min(y0 + crop_h, height)])
            which.append(layer)
    return boxes, which


@dataclass(frozen=True)
class Proposal:
    """One mask that was found, in pixels of the whole picture.

    Args:
        runs: the mask as `encode_runs` codes it: a thousand masks take little memory. size: (height, width).
        box: x0, y0, x1, y1, last ones included.
        predicted_iou: what SAM expects. stability: see `stability`.
        point: (x, y) of the prompt's first click. crop: x0, y0, x1, y1 of the part of the picture it was seen in.
    """

    runs: list[int]
    size: tuple[int, int]
    box: tuple[int, ...]
    predicted_iou: float
    stability: float
    point: tuple[float, ...]
    crop: tuple[int, ...]

    @property
    def mask(self) -> ndarray:
        """(H, W), True inside."""
        return decode_runs(self.runs, self.size)

    @property
    def area(self) -> int:
        """Pixels inside."""
        return sum(self.runs[1::2])


@dataclass(frozen=True)
class Keep:
    """Which masks of a batch of prompts become proposals.

    Args:
        multimask: the three masks of a prompt, or its single one. layers: which of them, counted from 0; () for all.
        iou: least predicted IoU, exceeded; 0 keeps all. stability: least stability, reached; 0 keeps all, also NaN.
        offset: see `stability`.
    """

    multimask: bool = True
    layers: tuple[int, ...] = ()
    iou: float = 0.88
    stability: float = 0.95
    offset: float = 1.0


@runtime_checkable
class Proposer(Protocol):
    """Draws masks where it is asked: all that `MaskGenerator` and Matcher need of a model."""

    def encode(self, picture: Image.Image) -> Any:
        """A picture as the other two read it; a picture is encoded once for all its prompts."""

    def propose(
        self,
        seen: Any,
        points: Float[Tensor, "prompts points 2"] | None,
        labels: Int[Tensor, "prompts points"] | None,
        boxes: Float[Tensor, "prompts 4"] | None,
        *,
        multimask: bool,
    ) -> tuple[Float[Tensor, "prompts masks fine_h fine_w"], Float[Tensor, "prompts masks"]]:
        """Mask logits (P, M, h, w) of any one size, and how good each mask is expected to be: its IoU, by and
        large from 0 to 1 (a head without a sigmoid, as SAM's, leaves them).

        Points (x, y) and boxes are in pixels of the picture; label 1 lies inside of what is meant, 0 outside.
        `multimask`: all that a prompt may mean, or the likeliest alone.
        """

    def enlarge(self, seen: Any, logits: Float[Tensor, "masks fine_h fine_w"]) -> Float[Tensor, "masks height width"]:
        """Some of these logits at the size of the picture: of those alone that their score does not rule out."""


class Seen(NamedTuple):
    """A picture that SAM has encoded, its size inside SAM's square, and its own."""

    embedding: Tensor
    inside: tuple[int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class SAMProposer:
    """The first proposer: a SAM, with its own `.preprocess` if it has one."""

    sam: SAM

    def encode(self, picture: Image.Image) -> Seen:
        """See `Proposer`."""
        weight, size = self.sam.image_encoder.pos, (picture.height, picture.width)
        preprocess: Any = getattr(self.sam, "preprocess", PaddedPreprocess(self.sam.image_size))
        pixels = preprocess(picture, weight.dtype)[None].to(weight.device)
        return Seen(self.sam.encode(pixels), preprocess.inside(size), size)

    def propose(
        self, seen: Seen, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, *, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Proposer`: three masks a prompt or one, by four pixels a patch side, with their predicted IoU."""
        device, frame = seen.embedding.device, PaddedPreprocess(self.sam.image_size)
        dtype = torch.float32 if device.type == "mps" else torch.float64  # places are exact; mps has no float64

        def place(where: Tensor | None) -> Tensor | None:
            return None if where is None else frame.to_square(where.double(), seen.size).to(device, dtype)[None]

        marks = None if labels is None else labels.to(device)[None]
        low, iou = self.sam.decode(seen.embedding, place(points), marks, place(boxes), multimask=multimask)
        return low[0], iou[0]  # (P, M, 4 h, 4 w), (P, M)

    def enlarge(self, seen: Seen, logits: Tensor) -> Tensor:
        """See `Proposer`."""
        return self.sam.enlarge(logits, seen.inside, seen.size)


@dataclass(frozen=True)
class View:
    """A picture or a crop of it, as its proposer encoded it: what prompts are asked of."""

    seen: Any
    crop: tuple[int, ...]
    picture: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the crop."""
        return self.crop[3] - self.crop[1], self.crop[2] - self.crop[0]


@dataclass(frozen=True)
class MaskGenerator:
    """Masks of everything in a picture.

    Called with a PIL picture it gives proposals by falling predicted IoU. Its parts serve other prompts: `look`, then
    `propose` with any points and boxes and rules of their own, then `best` over all of them (lesson 5.3).

    Args:
        proposer: draws the masks (`SAMProposer(sam)`). threshold: a mask is where its logits are above it.
        points_per_side: of the grid; `crop_downscale` divides it in each further layer of crops.
        points_per_batch: prompts that are decoded together: more need more memory.
        keep: what becomes a proposal. nms: overlap of boxes above which the less certain one is dropped.
        crop_layers, crop_overlap, crop_nms: look again at 4, 16 ... parts of the picture, which overlap by this part of
            the shorter side; of two like masks the one from the smaller crop stays.
        min_region: fill smaller holes and remove smaller islands, in pixels; 0 leaves the masks as they are.
    """

    proposer: Proposer
    points_per_side: int = 32
    points_per_batch: int = 64
    keep: Keep = Keep()
    nms: float = 0.7
    crop_layers: int = 0
    crop_overlap: float = 512 / 1500
    crop_nms: float = 0.7
    crop_downscale: int = 1
    min_region: int = 0
    threshold: float = 0.0

    @torch.no_grad()
    def __call__(self, image: Image.Image) -> list[Proposal]:
        """Proposals of the whole picture and of its crops."""
        size = (image.height, image.width)
        crops, layers = crop_boxes(size, self.crop_layers, self.crop_overlap)
        found: list[Proposal] = []
        for crop, layer in zip(crops, layers):
            view = self.look(image, tuple(crop))
            side = int(self.points_per_side / self.crop_downscale**layer)
            points = point_grid(side) * torch.tensor(view.size[::-1], dtype=torch.float64)
            found += self.best(self.propose(view, points[:, None], keep=self.keep), self.nms)
        if len(crops) > 1:
            found = best_by(lambda proposal: 1 / box_area(proposal.crop), found, self.crop_nms)
        return self.tidy(found) if self.min_region else found

    def look(self, image: Image.Image, crop: tuple[int, ...] | None = None) -> View:
        """Encode a picture, or the part of it in a box."""
        picture = (image.height, image.width)
        crop = crop or (0, 0, image.width, image.height)
        return View(self.proposer.encode(image.crop(crop)), crop, picture)  # type: ignore[arg-type]

    def propose(
        self,
        view: View,
        points: Float[Tensor, "prompts points 2"],
        boxes: Float[Tensor, "prompts 4"] | None = None,
        *,
        keep: Keep,
    ) -> list[Proposal]:
        """Ask P prompts, each of some clicks inside and maybe a box, in pixels of the view; keep what passes."""
        found: list[Proposal] = []
        for start in range(0, len(points), self.points_per_batch):
            some = slice(start, start + self.points_per_batch)
            found += self.ask(view, points[some], None if boxes is None else boxes[some], keep)
        return found

    def ask(self, view: View, points: Tensor, boxes: Tensor | None, keep: Keep) -> list[Proposal]:
        """One batch of `propose`. What the predicted IoU rules out is never enlarged."""
        labels = torch.full(points.shape[:-1], POSITIVE)
        low, iou = self.proposer.propose(view.seen, points, labels, boxes, multimask=keep.multimask)
        layers = list(keep.layers or range(low.shape[1]))
        low, iou = low[:, layers], iou[:, layers]  # (P, M, h, w), (P, M)
        first = repeat(points[:, 0], "p xy -> (p m) xy", m=low.shape[1]).to(low.device)
        low, iou = low.flatten(0, 1), iou.flatten()  # (n, h, w), (n)
        if keep.iou > 0:
            low, iou, first = (tensor[iou > keep.iou] for tensor in (low, iou, first))
        logits = self.proposer.enlarge(view.seen, low)  # (n, H, W)
        steady = stability(logits, self.threshold, keep.offset)
        masks = logits > self.threshold
        box = mask_boxes(masks)
        wanted = ~near_crop_edge(box, view.crop, view.picture)
        if keep.stability > 0:
            wanted &= steady >= keep.stability
        kept = (tensor[wanted].cpu() for tensor in (masks, box, iou, steady, first))
        return [to_proposal(view, *values) for values in zip(*kept)]

    def best(self, proposals: list[Proposal], threshold: float) -> list[Proposal]:
        """By falling predicted IoU, without boxes that overlap a better one; 1 drops none and still sorts."""
        return best_by(lambda proposal: proposal.predicted_iou, proposals, threshold)

    def tidy(self, proposals: list[Proposal]) -> list[Proposal]:
        """Without small holes and islands, and without what then overlaps; masks that needed no cleaning go first."""
        tidied, scores = [], {}
        for proposal in proposals:
            filled, hole = clean(proposal.mask, self.min_region, holes=True)
            mask, island = clean(filled, self.min_region, holes=False)
            if hole or island:
                box = mask_boxes(torch.from_numpy(mask)[None])[0].tolist()
                proposal = replace(proposal, runs=encode_runs(mask), box=tuple(box))
            scores[id(proposal)] = float(not (hole or island))
            tidied.append(proposal)
        return best_by(lambda proposal: scores[id(proposal)], tidied, max(self.nms, self.crop_nms))


def best_by(score: Callable[[Proposal], float], proposals: list[Proposal], threshold: float) -> list[Proposal]:
    """`suppress` for proposals."""
    boxes = torch.tensor([proposal.box for proposal in proposals]).view(-1, 4)
    return [proposals[place] for place in suppress(boxes, torch.tensor([*map(score, proposals)]).double(), threshold)]


def box_area(box: Sequence[int]) -> int:
    """Width times height of a crop's box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def to_proposal(view: View, mask: Tensor, box: Tensor, iou: Tensor, steady: Tensor, point: Tensor) -> Proposal:
    """One mask of a view, moved to where it lies in the whole picture."""
    x, y = view.crop[:2]
    whole = np.zeros(view.picture, dtype=bool)
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask.numpy()
    moved = (box + torch.tensor([x, y, x, y])).tolist()
    place = (point + torch.tensor([x, y])).tolist()
    return Proposal(encode_runs(whole), view.picture, tuple(moved), iou.item(), steady.item(), tuple(place), view.crop)
