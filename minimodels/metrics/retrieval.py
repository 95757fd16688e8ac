"""How well a search finds: ranks and recall (lesson 3.5).

Notation: Q queries    N items to choose from
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from minimodels.errors import UserError


def retrieval_ranks(
    scores: Float[Tensor, "queries items"], relevant: Bool[Tensor, "queries items"]
) -> Int[Tensor, "queries"]:
    """How many wrong items stand before the best right one, for each query: (Q,) int64, 0 is a hit at the first place.

    Wrong items with the same score count as standing before it: who gives everything the same score gets no hit.

    Args:
        scores: (Q, N), larger is better (cosines, logits).
        relevant: (Q, N), which items answer which query; several may.

    Raises:
        UserError: a query that no item answers, a score that is NaN.
    """
    if not relevant.any(dim=1).all():
        number = int((~relevant.any(dim=1)).nonzero()[0])
        raise UserError(f"no item answers query {number}; recall counts queries that at least one item answers")
    if scores.isnan().any():
        raise UserError("some scores are NaN, which has no rank; look at the embeddings they came from")
    best = scores.masked_fill(~relevant, -float("inf")).amax(dim=1, keepdim=True)  # (Q, 1)
    return ((scores >= best) & ~relevant).sum(dim=1)  # (Q,)


def recall_at(scores: Float[Tensor, "queries items"], relevant: Bool[Tensor, "queries items"], k: int) -> float:
    """R@k: the share of queries that find at least one right item among their k best.

    Text-to-image and image-to-text retrieval are reported so since Karpathy and Fei-Fei 2015, section 4.1. Where query
    i has the one right item i, pass `torch.eye(N, dtype=torch.bool)`.

    Raises:
        UserError: k below 1, or what `retrieval_ranks` refuses.
    """
    if k < 1:
        raise UserError(f"k is {k}, expected at least 1: recall at k looks at the k best items")
    return (retrieval_ranks(scores, relevant) < k).float().mean().item()
