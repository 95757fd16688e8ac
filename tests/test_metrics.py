"""Retrieval recall against a plain sort, and what it refuses."""

import pytest
import torch

from minimodels.errors import UserError
from minimodels.metrics import recall_at, retrieval_ranks


def ranks_by_sorting(scores, relevant):
    """The place of the best right item in a sorted list, wrong items first among equals; one query at a time."""
    ranks = []
    for row, right in zip(scores.tolist(), relevant.tolist()):
        order = sorted(range(len(row)), key=lambda item: (-row[item], right[item]))
        ranks.append(next(place for place, item in enumerate(order) if right[item]))
    return ranks


@pytest.mark.parametrize("queries, items, levels", [(7, 5, 1000), (40, 30, 4), (1, 1, 2), (30, 9, 1)])
def test_ranks_match_sorting(queries, items, levels):
    scores = torch.randint(levels, (queries, items)).float()  # few levels: many ties
    relevant = torch.rand(queries, items) < 0.3
    relevant[torch.arange(queries), torch.randint(items, (queries,))] = True
    expected = ranks_by_sorting(scores, relevant)
    assert retrieval_ranks(scores, relevant).tolist() == expected
    for k in (1, 2, items, items + 5):
        share = sum(rank < k for rank in expected) / queries
        assert recall_at(scores, relevant, k) == pytest.approx(share, abs=1e-6)


def test_a_model_that_gives_every_item_the_same_score_has_no_hit():
    own = torch.eye(6, dtype=torch.bool)
    assert recall_at(torch.zeros(6, 6), own, 1) == 0
    assert recall_at(torch.zeros(6, 6), own, 6) == 1


def test_minus_infinity_is_a_score():
    scores = torch.tensor([[-float("inf"), 1.0]])
    assert retrieval_ranks(scores, torch.tensor([[True, False]])).tolist() == [1]


def test_what_it_refuses():
    scores, own = torch.randn(3, 3), torch.eye(3, dtype=torch.bool)
    with pytest.raises(UserError, match="k is 0"):
        recall_at(scores, own, 0)
    nothing = own.clone()
    nothing[1] = False
    with pytest.raises(UserError, match="query 1"):
        recall_at(scores, nothing, 1)
    with pytest.raises(UserError, match="NaN"):
        recall_at(scores * float("nan"), own, 1)
