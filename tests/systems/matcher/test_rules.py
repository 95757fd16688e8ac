"""Matcher's rules on numbers made by hand, which the official cases do not tell apart."""

import pytest
import torch

from minimodels import matcher
from tests.systems.matcher import mutants


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


def test_the_transport_of_equal_parts_is_an_assignment():
    """Of n patches to n patches, uniform weights: the best assignment's mean."""
    cost = torch.rand(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    patches = torch.zeros(2, 9, dtype=torch.bool)
    patches[0, [0, 2, 3, 5, 8]] = patches[1, [1]] = True
    some = cost[:, patches[0]]
    rows, columns = matcher.assign(-some)
    expected = torch.stack([1 - some[rows, columns].mean(), 1 - cost[:, 1].mean()])
    assert torch.allclose(matcher.transport_scores(cost, patches), expected, atol=1e-12)
