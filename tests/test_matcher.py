"""Matcher on the official numbers, the wrong Matchers that they find out, and each step by itself."""

import pytest
import torch

from minimodels import matcher
from minimodels.errors import UserError
from tests import mutants_matcher as mutants
from tests.golden import read_case, run_case

STEPS = [
    "match_dense", "match_empty_even", "match_empty_mask", "match_fallback", "match_fewshot", "match_oneshot",
    "match_thin", "sampler", "scores_fewshot", "scores_oneshot",
    "e2e_fewshot", "e2e_nms", "e2e_part", "e2e_semantic", "e2e_whole",
]  # fmt: skip


def wrong_lines(root, name: str) -> list[str]:
    """What is wrong with a case, or the error that running it ends in."""
    try:
        with torch.no_grad():
            return [str(line) for line in run_case(read_case(root / "tests/golden/matcher" / name)) if line.ok is False]
    except UserError as error:
        return [str(error)]


@pytest.mark.parity
@pytest.mark.parametrize("name", STEPS)
def test_official_numbers(root, name):
    assert not wrong_lines(root, name)


@pytest.mark.parity
@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_mutants_are_caught(root, name, monkeypatch):
    attribute, wrong, cases = mutants.MUTANTS[name]
    monkeypatch.setattr(f"minimodels.matcher.{attribute}", wrong)
    for case in cases:
        assert wrong_lines(root, case), f"{case} does not see it"


# ---------------------------------------------------------------- rules by hand


def filtered(rule, rows, least) -> list[int]:
    coverage, emd, purity = torch.tensor(rows).T
    names = dict(zip(("coverage", "emd", "purity"), least, strict=True))
    return rule(matcher.Scores(emd, purity, coverage), **names).tolist()


def merged(rule, totals, *numbers) -> list[int]:
    return rule(torch.tensor(totals), *numbers).tolist()


def test_filters_by_hand():
    for rows, least, kept in mutants.FILTERS:
        assert filtered(matcher.filter_masks, rows, least) == kept


@pytest.mark.parametrize("name", mutants.FILTER_MUTANTS)
def test_wrong_filters_are_caught_by_hand(name):
    rule = mutants.FILTER_MUTANTS[name]
    assert any(filtered(rule, rows, least) != kept for rows, least, kept in mutants.FILTERS)


def test_merging_by_hand():
    for given, chosen in mutants.CLOSE:
        assert merged(matcher.choose_close, *given) == chosen
    for given, chosen in mutants.BEST:
        assert merged(matcher.choose_best, *given) == chosen


@pytest.mark.parametrize("name", mutants.CLOSE_MUTANTS)
def test_wrong_semantic_rules_are_caught_by_hand(name):
    rule = mutants.CLOSE_MUTANTS[name]
    assert any(merged(rule, *given) != chosen for given, chosen in mutants.CLOSE)


@pytest.mark.parametrize("name", mutants.BEST_MUTANTS)
def test_wrong_rules_of_the_best_are_caught_by_hand(name):
    rule = mutants.BEST_MUTANTS[name]
    assert any(merged(rule, *given) != chosen for given, chosen in mutants.BEST)
