"""Matcher's numbers: those of the released command line, its three settings, and the book's own for stickers."""

from minimodels import matcher
from minimodels.matcher import Matcher
from minimodels.sam_everything import Keep
from minimodels.stored import tiny_matcher
from tests.systems.defaults import defaults
from tests.systems.matcher.test_model import Colours

RELEASED = {  # the command line's defaults
    "sizes": (4, 6),
    "draws": 30,
    "num_centers": 8,
    "use_box": False,
    "multimask": False,
    "iou": 0.0,
    "stability": 0.0,
    "grid_iou": 0.88,
    "grid_stability": 0.95,
    "nms": 1.0,
    "alpha": 1.0,
    "beta": 0.0,
    "exponent": 0.0,
    "coverage": 0.0,
    "emd": 0.0,
    "purity": 0.0,
    "share": 0.7,
    "merge": 10,
}
# Rows of the scripts for COCO-20i, FSS-1000 and PASCAL-Part, where they differ from the command line's defaults.
COCO = {
    "sizes": (1, 6), "draws": 64, "num_centers": 0, "multimask": True, "nms": 0.65, "iou": 0.85, "stability": 0.9,
    "purity": 0.02, "merge": 9,
}  # fmt: skip
FSS = {"alpha": 0.8, "beta": 0.2, "exponent": 1.0}
PART = {"sizes": (3, 6), "draws": 128, "num_centers": 0, "use_box": True, "coverage": 0.3, "alpha": 0.5, "beta": 0.5,
        "merge": 5}  # fmt: skip


def test_defaults():
    own = {
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "points_per_side": 0,
        "closeness": None,
        "least_score": 0.0,
        "threshold": 0.0,
        "offset": 1.0,
    }
    assert defaults(Matcher) == {**RELEASED, **own}
    assert defaults(Matcher.forward) == {"seed": 0} and defaults(matcher.mark_patches) == {"threshold": 0.0}


def test_numbers_that_are_no_arguments():
    assert (matcher.SQUARE, matcher.MANY_MATCHES, matcher.ALL_SETS) == (14, 40, 8)
    assert (matcher.TINY, matcher.ROUNDS, matcher.LIMIT) == (1e-6, 100, 10_000_000)


def test_the_three_settings():
    """The semantic one asks the grid of 64 points, too, and merges by distance: 0.33 and 0.1."""
    plain = defaults(Matcher)
    grid = {"points_per_side": 64, "closeness": (0.33, 0.1)}
    assert {**plain, **matcher.SEMANTIC} == {**plain, **COCO, **grid}
    assert {**plain, **matcher.WHOLE_OBJECT} == {**plain, **FSS}
    assert {**plain, **matcher.PART} == {**plain, **PART}


def test_they_reach_the_generator():
    class Nobody:
        def encode(self, picture): ...

        def propose(self, seen, points, labels, boxes, *, multimask): ...

        def enlarge(self, seen, logits): ...

    made = Matcher(Colours(), Nobody(), multimask=True, iou=0.5, stability=0.6, offset=0.7, nms=0.8, threshold=0.1,
                   grid_iou=0.2, grid_stability=0.3)  # fmt: skip
    assert made.keep == Keep(multimask=True, iou=0.5, stability=0.6, offset=0.7)
    assert made.grid_keep == Keep(multimask=False, iou=0.2, stability=0.3, offset=0.7)
    assert made.generator.nms == 0.8 and made.generator.threshold == 0.1


def test_numbers_for_stickers():
    """Chosen on the validation split (lesson 5.3): few clicks, for a sticker has few patches."""
    assert tiny_matcher.NUMBERS == {
        "sizes": (1, 3),
        "draws": 12,
        "num_centers": 0,
        "multimask": True,
        "alpha": 1.0,
        "beta": 0.5,
        "exponent": 0.5,
        "merge": 3,
        "share": 0.97,
        "least_score": 0.84,
    }
    assert tiny_matcher.PARTS == ("tiny-clip", "tiny-sam") and tiny_matcher.SIDE == 128
