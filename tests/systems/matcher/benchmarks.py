"""Matcher's patch matching and scoring beside a plain numpy, scipy and POT version of the same steps."""

import numpy as np
import torch

from tests.benchmarks.measure import Run, Work

SIDE, PATCH, PROPOSALS, WIDTH = 37, 14, 100, 1024


def made_up() -> dict[str, np.ndarray]:
    """Features of two pictures with one object (a disc) at two places, its mask, and discs around the second place."""
    draw = np.random.RandomState(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    discs = {"reference": (y - 14) ** 2 + (x - 16) ** 2 < 64, "target": (y - 22) ** 2 + (x - 20) ** 2 < 64}
    both = draw.standard_normal((2, WIDTH))  # background, object
    features = {
        name: both[disc.astype(int)] + 2 * draw.standard_normal((*disc.shape, WIDTH)) for name, disc in discs.items()
    }
    found = {name: array.reshape(-1, WIDTH).astype(np.float32) for name, array in features.items()}
    rows, columns = np.mgrid[: SIDE * PATCH, : SIDE * PATCH]
    middles, radii = draw.uniform(150, 400, (PROPOSALS, 2)), draw.uniform(60, 150, PROPOSALS)
    proposals = [(rows - top) ** 2 + (columns - left) ** 2 < r**2 for (top, left), r in zip(middles, radii)]
    return {**found, "marked": discs["reference"].ravel(), "proposals": np.stack(proposals)}


def ours() -> Run:
    from minimodels import matcher

    given = {name: torch.from_numpy(array) for name, array in made_up().items()}

    def run() -> object:
        similarity = matcher.cosine(given["reference"], given["target"])
        found = matcher.match_patches(similarity, given["marked"])
        points = matcher.patch_points(found.patches, SIDE, PATCH)
        cost = matcher.matching_cost(similarity[given["marked"]])
        return matcher.score_masks(given["proposals"], points, cost, PATCH)

    return run


def plain() -> Run:
    """As one would write it down: whole matrices, a loop over the proposals."""
    import ot
    from scipy.optimize import linear_sum_assignment

    given = made_up()

    def run() -> object:
        a, b = (given[name] / np.linalg.norm(given[name], axis=1, keepdims=True) for name in ("reference", "target"))
        similarity = a @ b.T
        cost = (1 - similarity) / 2
        candidates = np.flatnonzero(given["marked"])
        rows, target = linear_sum_assignment(similarity[candidates], maximize=True)
        _, back = linear_sum_assignment(similarity.T[target], maximize=True)
        stay = given["marked"][back]
        target, strength = target[stay], similarity[candidates[rows], target][stay]
        order = np.argsort(-strength)
        best = target[order[: len(order) // 2] if len(order) > 40 else order]
        x, y = best % SIDE * PATCH + PATCH // 2, best // SIDE * PATCH + PATCH // 2
        scores = []
        for mask in given["proposals"]:
            touched = mask.reshape(SIDE, PATCH, SIDE, PATCH).mean(axis=(1, 3)).ravel() > 0
            moved = cost[candidates][:, touched]
            weights = np.full(len(candidates), 1 / len(candidates)), np.full(touched.sum(), 1 / touched.sum())
            inside = mask[y, x].sum()
            scores.append(
                (1 - ot.emd2(*weights, moved, numItermax=10_000_000), inside / touched.sum(), inside / len(x))
            )
        return np.array(scores)

    return run


WORKS = [
    Work(
        "Matcher: matching and scoring, 37 x 37 patches",
        {"ours": ours, "numpy, scipy and POT": plain},
        bar=1.05,
        memory_bar=None,
        note="100 proposals; the reference is a plain version of the same steps, in tests/systems/matcher.",
    ),
]
