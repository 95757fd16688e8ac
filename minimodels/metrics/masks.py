"""How good masks are: IoU in its kinds, precision (lessons 4.2 and 4.5).

Notation: N masks    T thresholds    H W pixels
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from minimodels.errors import UserError

# ---------------------------------------------------------------- masks

THRESHOLDS = torch.arange(1, 50, dtype=torch.float64) / 50  # 0.02 ... 0.98


class Counts(NamedTuple):
    """Pixels right and wrong at each threshold: hits, false alarms, misses, right rejections, each (N, T) int64."""

    tp: Int[Tensor, "masks thresholds"]
    fp: Int[Tensor, "masks thresholds"]
    fn: Int[Tensor, "masks thresholds"]
    tn: Int[Tensor, "masks thresholds"]

    def total(self) -> "Counts":
        """Summed over the masks: one row."""
        return Counts(*(counts.sum(dim=0, keepdim=True) for counts in self))

    def iou(self) -> Float[Tensor, "masks thresholds"]:
        """Intersection over union of what is meant; 1 is added below, as the released code does, so that an empty mask
        has a value (and a perfect one a little less than 1)."""
        return self.tp / (1 + self.tp + self.fp + self.fn).double()


def mask_counts(
    probabilities: Float[Tensor, "masks height width"],
    truth: Shaped[Tensor, "truths truth_height truth_width"],
    thresholds: Float[Tensor, "thresholds"] = THRESHOLDS,
) -> Counts:
    """Count pixels above each threshold (strictly), for each mask.

    Args:
        probabilities: (N, H, W) in 0-1. truth: (N, H, W), bool or 0 and 1. thresholds: (T,).

    Raises:
        UserError: shapes that differ, a probability that is NaN.
    """
    if probabilities.shape != truth.shape:
        raise UserError(f"masks of {tuple(probabilities.shape)} against {tuple(truth.shape)}: the sizes must agree")
    if probabilities.isnan().any():
        raise UserError("some probabilities are NaN, which lies on no side of a threshold")
    wanted = truth.bool().flatten(1)  # (N, H W)
    found = [probabilities.flatten(1) > float(threshold) for threshold in thresholds]
    tp = torch.stack([(one & wanted).sum(dim=1) for one in found], dim=1)  # (N, T)
    fp = torch.stack([(one & ~wanted).sum(dim=1) for one in found], dim=1)
    fn = wanted.sum(dim=1, keepdim=True) - tp
    return Counts(tp, fp, fn, wanted.shape[1] - tp - fp - fn)


def foreground_iou(counts: Counts) -> Float[Tensor, "thresholds"]:
    """IoU_FG at each threshold: over the pixels of all masks together, so that large ones count most."""
    return counts.total().iou()[0]


def binary_iou(counts: Counts) -> Float[Tensor, "thresholds"]:
    """IoU_BIN at each threshold: the mean of the foreground's and the background's IoU over all pixels."""
    total = counts.total()
    background = Counts(total.tn, total.fn, total.fp, total.tp)
    return (total.iou()[0] + background.iou()[0]) / 2


def mean_class_iou(counts: Counts, classes: Int[Tensor, "masks"]) -> Float[Tensor, "thresholds"]:
    """mIoU at each threshold: pixels are summed within each class, and the classes' IoUs averaged."""
    rows = [Counts(*(part[classes == kind] for part in counts)).total().iou()[0] for kind in classes.unique()]
    return torch.stack(rows).mean(dim=0)


def average_precision(counts: Counts) -> float:
    """AP as CLIPSeg's released code computes it: the area below precision over recall, all pixels together.

    Simpson's rule over the pairs that the thresholds give, equal pairs once, in the order of their recall. It is not
    extended to recall 0 and 1, so a model whose probabilities are all 0 or 1 has a small area.

    Raises:
        UserError: no pixel passes any threshold.
    """
    from scipy.integrate import simpson  # slow to import

    tp, fp, fn, _ = (part[0] for part in counts.total())
    made = tp + fp > 0
    if not made.any():
        raise UserError("no pixel passes any threshold: there is no precision to speak of")
    tp, fp, fn = (part[made].double() for part in (tp, fp, fn))
    pairs = sorted(set(zip((tp / (1 + tp + fn)).tolist(), (tp / (1 + tp + fp)).tolist())), key=lambda pair: pair[0])
    recalls, precisions = zip(*pairs)
    return float(simpson(precisions, x=recalls))


# ---------------------------------------------------------------- referring expressions


class ReferringScores(NamedTuple):
    """What the tables on RefCOCO report (Yang et al. 2022, section 4.3), each from 0 to 1."""

    overall_iou: float  # over the pixels of all sentences together: large things count most
    mean_iou: float  # the mean over sentences: each counts alike
    precision: dict[float, float]  # P@X: the share of sentences with an IoU of X or more


def referring_scores(
    found: Bool[Tensor, "sentences height width"],
    truth: Bool[Tensor, "truths truth_height truth_width"],
    levels: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9),
) -> ReferringScores:
    """Score one mask a sentence as LAVT's released code does: an empty union counts as an IoU of 0.

    So a sentence whose referent is absent can win nothing, even where the mask is rightly left empty; RefCOCO has no
    such sentences, and where there are some they want a figure of their own.

    Raises:
        UserError: no sentence, shapes that differ.
    """
    if found.shape != truth.shape or not len(found):
        raise UserError(
            f"masks of {tuple(found.shape)} against {tuple(truth.shape)}: the sizes must agree, and not be 0"
        )
    both = (found & truth).sum(dim=(1, 2)).double()  # (N,)
    either = (found | truth).sum(dim=(1, 2)).double()
    ious = both / either.clamp(min=1)  # an empty union has an empty intersection: 0
    precision = {level: (ious >= level).double().mean().item() for level in levels}
    return ReferringScores((both.sum() / either.sum().clamp(min=1)).item(), ious.mean().item(), precision)
