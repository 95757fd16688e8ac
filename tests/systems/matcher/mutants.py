"""Wrong Matchers, each wrong in one place: the official numbers must tell every one of them from the right one.

Each stands in for one function or number of minimodels.matcher and names the official cases that must fail.
"""

import random
from itertools import combinations

import numpy as np
import ot
import torch
import torch.nn.functional as F
from einops import reduce

from checkpoints_convert.proof.mutants import Mutant, StandIn
from minimodels import matcher
from minimodels.matcher import Matches, Scores, assign


def match_wrongly(
    similarity, marked, *, inside_only=False, many=40, half=2, order="set", greedy=False, mutual=False, fallback=True
):
    """`match_patches` spelled out, with one thing wrong."""
    candidates = torch.where(marked)[0]
    rows, target = assign(similarity[candidates])
    if greedy:
        rows, target = torch.arange(len(candidates)), similarity[candidates].argmax(dim=1)
    reference, back_similarity = candidates[rows], similarity.T[target]
    if inside_only:
        back = candidates[assign(back_similarity[:, candidates])[1]]
    else:
        back = assign(back_similarity)[1]
    retained = back == reference if mutual else marked[back]
    stay = retained if retained.any() or not fallback else torch.ones_like(retained)
    strength = similarity[reference, target]
    best = target[stay][strength[stay].argsort(descending=True)]
    best = best[: len(best) // half] if len(best) > many else best
    lists = {"set": lambda: list(set(best.tolist())), "sorted": lambda: sorted(best.tolist()), "best": best.tolist}
    return Matches(similarity, rows, reference, target, strength, back, retained, torch.tensor(lists[order]()).long())


def wrong_match(**wrong):
    return lambda similarity, marked: match_wrongly(similarity, marked, **wrong)


def half_marked(masks, patch_size, threshold=0.0):
    return reduce(masks.double(), "m (h a) (w b) -> m (h w)", "mean", a=patch_size, b=patch_size) > 0.5


def square(before, behind):
    """Another stand-in for an empty mask: so many pixels before and behind the middle."""

    def fill(masks):
        masks, part = masks.clone(), slice(masks.shape[-1] // 2 - before, masks.shape[-1] // 2 + behind)
        if masks.sum() == 0:
            masks[:, part, part] = 1
        return masks

    return fill


def plain_product(a, b):
    return a @ b.T


def wider_box(points):
    return torch.cat([points.min(dim=0).values - 1, points.max(dim=0).values + 1])


def normed_features(self, image):
    mean, std = (image.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
    return self.features.encode((image - mean) / std).patches.flatten(0, 1)


def rounded_pixels(self, image, prompts, box):
    return PROPOSE(self, (image + 1 / 255).clamp(max=1), prompts, box)


# ---------------------------------------------------------------- sampler


def double_k_means(points, count, generator=None):
    return K_MEANS(points.double(), count, generator)


def chances_without_square(points, centers):
    near = matcher.distances(points, centers).min(dim=1).values
    return near / near.sum()


def farthest_first(points, centers):
    near = matcher.distances(points, centers).min(dim=1).values
    return F.one_hot(near.argmax(), len(points)).float()


def rounded_centers(points, count, generator=None):
    count = min(count, len(points))
    return matcher.k_means(points.float(), count, generator)[0].round().long()


def sets_wrongly(points, sizes, draws, dice, *, lexicographic=False, replaced=False, few=8):
    count, found = len(points), []
    for size in range(min(sizes[0], count), min(sizes[1], count) + 1):
        if count > few:
            chosen = [
                dice.choices(range(count), k=size) if replaced else dice.sample(range(count), size)
                for _ in range(draws)
            ]
        else:
            chosen = sorted(combinations(range(count), size), key=lambda one: one if lexicographic else one[::-1])
        found.append(points[torch.tensor([list(one) for one in chosen])])
    return found


def wrong_sets(**wrong):
    return lambda points, sizes, draws, dice: sets_wrongly(points, sizes, draws, dice, **wrong)


def unseeded(points, sizes, draws, dice):
    return PROMPT_SETS(points, sizes, draws, random.Random(1))


K_MEANS, PROMPT_SETS, SCORE_MASKS = matcher.k_means, matcher.prompt_sets, matcher.score_masks
PROPOSE = matcher.Matcher.propose


# ---------------------------------------------------------------- scores and choice


def transport(change):
    """Another ground cost, or another way to move."""

    def scores(cost, patches):
        return torch.tensor([1 - change(cost, columns) for columns in patches], dtype=cost.dtype)

    return scores


def emd(cost):
    return ot.emd2([], [], np.ascontiguousarray(cost.double().numpy()))


def regularised(cost, columns):
    rows, count = len(cost), int(columns.sum())
    return ot.sinkhorn2(np.ones(rows) / rows, np.ones(count) / count, cost[:, columns].double().numpy(), 0.1)


def empty_is_nothing(proposals, patch_size):
    return reduce(proposals, "m (h a) (w b) -> m (h w)", "any", a=patch_size, b=patch_size)


def most_of_the_patch(proposals, patch_size):
    share = reduce(proposals.double(), "m (h a) (w b) -> m (h w)", "mean", a=patch_size, b=patch_size)
    return (share > 0.5) | ~(share > 0.5).any(dim=1, keepdim=True)


def sampled_points(proposals, points, cost, patch_size):
    return SCORE_MASKS(proposals, points[::2], cost, patch_size)


def pixels_for_patches(proposals, points, cost, patch_size):
    found = SCORE_MASKS(proposals, points, cost, patch_size)
    inside = proposals[:, points[:, 1], points[:, 0]].sum(dim=1)
    return found._replace(purity=inside / proposals.sum(dim=(1, 2)).clamp(min=1).to(cost) + 1e-6)


def swapped_axes(proposals, points, cost, patch_size):
    return SCORE_MASKS(proposals, points.flip(1), cost, patch_size)


def without_epsilon(proposals, points, cost, patch_size):
    found = SCORE_MASKS(proposals, points, cost, patch_size)
    return Scores(found.emd, found.purity - 1e-6, found.coverage - 1e-6)


def filter_wrongly(scores, *, coverage, emd, purity, order=(0, 1, 2), strict=False, relative=True):
    steps = ((scores.coverage, coverage), (scores.emd, emd), (scores.purity, purity))
    kept = torch.arange(len(scores.emd))
    for values, least in (steps[number] for number in order):
        if least > 0:
            left = values[kept]
            bound = left.max().clamp(max=least) if relative else torch.tensor(least)
            good = left > bound if strict else left >= bound
            if relative:
                good[left.argmax()] = True
            kept = kept[good]
    return kept


def wrong_filter(**wrong):
    return lambda scores, **filters: filter_wrongly(scores, **filters, **wrong)


def close_wrongly(totals, count, most, apart, *, divisor="max", limits=(True, True), keep_best=True):
    far, order = (1 - totals).sort(stable=True)
    good = far < most if limits[0] else torch.ones_like(far, dtype=torch.bool)
    good[0] |= keep_best
    far, order = far[good], order[good]
    if not len(far):
        return order
    size = {"max": far.max(), "range": far.max() - far.min(), "none": torch.tensor(1.0)}[divisor]
    near = (far - far[0]) / (size + 1e-6) < apart if limits[1] else torch.ones_like(far, dtype=torch.bool)
    return order[near][:count]


def wrong_close(**wrong):
    return lambda totals, count, most, apart: close_wrongly(totals, count, most, apart, **wrong)


def best_undivided(totals, count, share):
    values, order = totals.sort(descending=True, stable=True)
    good = values[:count] > share
    good[0] = True
    return order[:count][good]


def best_uncounted(totals, count, share):
    return CHOOSE_BEST(totals, len(totals), share)


def best_of_range(totals, count, share):
    values, order = totals.sort(descending=True, stable=True)
    values = (values - values.min()) / (values.max() - values.min())
    return order[:count][values[:count] > share]


CHOOSE_BEST = matcher.choose_best


def instead(name, wrong):
    """What stands in Matcher's file for a function or number."""
    return StandIn(matcher, name, wrong)


MUTANTS = [
    Mutant(
        "reverse matching inside the mask only",
        instead("match_patches", wrong_match(inside_only=True)),
        cases=("match_oneshot",),
    ),
    Mutant("only mutual pairs stay", instead("match_patches", wrong_match(mutual=True)), cases=("match_oneshot",)),
    Mutant(
        "nearest patch for assignment", instead("match_patches", wrong_match(greedy=True)), cases=("match_oneshot",)
    ),
    Mutant("points sorted", instead("match_patches", wrong_match(order="sorted")), cases=("match_dense",)),
    Mutant("points by similarity", instead("match_patches", wrong_match(order="best")), cases=("match_oneshot",)),
    Mutant("features after the last norm", StandIn(matcher.Matcher, "describe", normed_features), cases=("e2e_whole",)),
    Mutant("SAM sees other pixels", StandIn(matcher.Matcher, "propose", rounded_pixels), cases=("e2e_whole",)),
    Mutant("the box has a margin", instead("points_box", wider_box), cases=("match_oneshot", "e2e_part")),
    Mutant(
        "prompts from the points, not the centres",
        instead("cluster_points", lambda points, *_: points),
        cases=("e2e_whole",),
    ),
    Mutant("never halved", instead("match_patches", wrong_match(many=10**6)), cases=("match_dense",)),
    Mutant("halved above 30", instead("match_patches", wrong_match(many=30)), cases=("e2e_semantic",)),
    Mutant("a third kept", instead("match_patches", wrong_match(half=3)), cases=("match_dense",)),
    Mutant(
        "nothing left when nothing comes back",
        instead("match_patches", wrong_match(fallback=False)),
        cases=("match_fallback",),
    ),
    Mutant("half a patch must be marked", instead("mark_patches", half_marked), cases=("match_thin",)),
    Mutant("a larger square for no mask", instead("fill_empty", square(8, 8)), cases=("match_empty_mask",)),
    Mutant("one patch for no mask", instead("fill_empty", square(0, 14)), cases=("match_empty_even",)),
    Mutant("features not normalised", instead("cosine", plain_product), cases=("match_oneshot",)),
    Mutant(
        "cost 1 - S",
        instead("matching_cost", lambda similarity: 1 - similarity),
        cases=("match_oneshot", "scores_oneshot"),
    ),
    Mutant("k-means in float64", instead("k_means", double_k_means), cases=("sampler",)),
    Mutant(
        "chances by distance, not its square", instead("center_chances", chances_without_square), cases=("sampler",)
    ),
    Mutant("the farthest point next", instead("center_chances", farthest_first), cases=("sampler",)),
    Mutant("centres rounded", instead("cluster_points", rounded_centers), cases=("sampler",)),
    Mutant("one round of k-means", instead("ROUNDS", 1), cases=("sampler",)),
    Mutant("sets in lexicographic order", instead("prompt_sets", wrong_sets(lexicographic=True)), cases=("sampler",)),
    Mutant("points drawn with replacement", instead("prompt_sets", wrong_sets(replaced=True)), cases=("sampler",)),
    Mutant("draws from 6 points on", instead("prompt_sets", wrong_sets(few=5)), cases=("sampler",)),
    Mutant("another seed", instead("prompt_sets", unseeded), cases=("sampler",)),
    Mutant(
        "EMD on squared cost",
        instead("transport_scores", transport(lambda c, m: emd(c[:, m] ** 2))),
        cases=("scores_oneshot",),
    ),
    Mutant(
        "EMD without the marked rows' weights",
        instead("transport_scores", transport(lambda c, m: float(c[:, m].min(dim=1).values.mean()))),
        cases=("scores_oneshot",),
    ),
    Mutant(
        "mean cost for EMD",
        instead("transport_scores", transport(lambda c, m: float(c[:, m].mean()))),
        cases=("scores_oneshot",),
    ),
    Mutant("regularised transport", instead("transport_scores", transport(regularised)), cases=("scores_oneshot",)),
    Mutant("most of a patch must be covered", instead("mask_patches", most_of_the_patch), cases=("scores_oneshot",)),
    Mutant("purity and coverage on sampled points", instead("score_masks", sampled_points), cases=("scores_oneshot",)),
    Mutant("purity by pixels", instead("score_masks", pixels_for_patches), cases=("scores_oneshot",)),
    Mutant("x and y swapped", instead("score_masks", swapped_axes), cases=("scores_oneshot",)),
    Mutant("no 1e-6", instead("score_masks", without_epsilon), cases=("scores_oneshot",)),
    Mutant(
        "filters that may take all", instead("filter_masks", wrong_filter(relative=False)), cases=("scores_oneshot",)
    ),
    Mutant("divided by the range", instead("choose_close", wrong_close(divisor="range")), cases=("scores_fewshot",)),
    Mutant("not divided", instead("choose_close", wrong_close(divisor="none")), cases=("scores_oneshot",)),
    Mutant("no norm filter", instead("choose_close", wrong_close(limits=(True, False))), cases=("scores_oneshot",)),
    Mutant("share of the best not divided", instead("choose_best", best_undivided), cases=("scores_oneshot",)),
    Mutant("share of the range", instead("choose_best", best_of_range), cases=("scores_oneshot",)),
    Mutant("all masks merged", instead("choose_best", best_uncounted), cases=("scores_oneshot",)),
]


# What the official cases do not tell apart, by hand: (coverage, emd, purity) of each proposal, the filters, who stays.
FILTERS = [
    (((0.1, 0.9, 0.5), (0.9, 0.4, 0.2), (0.5, 0.6, 0.1)), (0.4, 0.8, 0.3), [2]),
    (((0.5, 0.1, 0.2), (0.25, 0.1, 0.2), (0.125, 0.9, 0.9)), (0.25, 0.0, 0.0), [0, 1]),
    (((0.5, 0.1, 0.2), (0.25, 0.1, 0.2)), (5.0, 0.0, 0.0), [0]),
    (((0.5, 0.1, 0.2), (0.25, 0.1, 0.2)), (0.0, 0.0, 0.0), [0, 1]),
]
FILTER_MUTANTS = {
    "strict": wrong_filter(strict=True),
    "EMD first": wrong_filter(order=(1, 0, 2)),
    "purity before EMD": wrong_filter(order=(0, 2, 1)),
    "purity first": wrong_filter(order=(2, 0, 1)),
    "opposite order": wrong_filter(order=(2, 1, 0)),
    "may take all": wrong_filter(relative=False),
}
# (totals, count, most, apart) of the semantic rule and (totals, count, share) of the other one, and who is merged.
CLOSE = [
    (((0.6, 0.58), 5, 0.33, 0.1), [0]),  # both far from 1: the best alone
    (((0.75, 0.875), 5, 0.25, 1.0), [1]),  # 1 - 0.75 is not below 0.25
    (((0.75, 0.875, 0.5), 1, 1.0, 1.0), [1]),
    (((0.75, 0.875, 0.5), 5, 1.0, 1.0), [1, 0, 2]),
]
CLOSE_MUTANTS = {
    "no score filter": wrong_close(limits=(False, True)),
    "the best is not always kept": wrong_close(keep_best=False),
    "not strict": lambda totals, count, most, apart: matcher.choose_close(totals, count, most + 1e-3, apart),
    "count ignored": lambda totals, count, most, apart: matcher.choose_close(totals, len(totals), most, apart),
}
BEST = [
    (((0.25, 1.0, 0.5), 3, 0.5), [1]),  # a half is not above a half
    (((0.25, 0.5, 0.375), 3, 0.7), [1, 2]),  # 0.75 of the best
    (((0.0, 0.5, -0.1), 3, 0.0), [1]),
    (((0.4, 0.5, 0.3), 2, 0.0), [1, 0]),
]
BEST_MUTANTS = {
    "not strict": lambda totals, count, share: CHOOSE_BEST(totals, count, max(share - 1e-3, -1.0)),
    "not divided": best_undivided,
    "count ignored": best_uncounted,
}
