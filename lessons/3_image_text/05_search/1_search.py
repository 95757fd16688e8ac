"""The search index  (10 minutes, difficulty 1 of 5)

A folder of pictures is embedded once and kept, normalised; then a query
costs one matrix product. `make_index` normalises; search normalises the
queries, takes the cosines and gives the k best pictures of each query, the
best first, like `torch.topk`.
"""

import torch


# %% solution
def make_index(embeddings):
    """embeddings (P, E) of pictures -> index (P, E), each row of length 1."""
    return embeddings / embeddings.norm(dim=-1, keepdim=True)


def search(index, queries, k):
    """index (P, E) normalised, queries (Q, E) not normalised -> (cosines (Q, k), picture numbers (Q, k) int64)."""
    queries = queries / queries.norm(dim=-1, keepdim=True)
    best = (queries @ index.T).topk(k, dim=-1)
    return best.values, best.indices


# %% check: the index against a loop, hits against sorting all cosines
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def index_cases(random):
    yield {"embeddings": random(5, 3) * 4}
    yield {"embeddings": random(4, 4)}


def cases(random):
    for pictures, queries, dim, k in [(6, 2, 3, 3), (4, 5, 4, 1), (9, 3, 5, 9), (5, 5, 6, 2)]:
        yield {"index": F.normalize(random(pictures, dim), dim=-1), "queries": random(queries, dim) * 3, "k": k}


def index_reference(embeddings):
    return torch.stack([row / row.square().sum().sqrt() for row in embeddings])


def reference(index, queries, k):
    cosines = F.cosine_similarity(queries[:, None], index[None], dim=-1)
    order = cosines.argsort(dim=-1, descending=True)[:, :k]
    return cosines.gather(1, order), order


def flawed(index, queries, k, normal=True, largest=True, by="row", order="best", swapped=False):
    queries = F.normalize(queries, dim=-1) if normal else queries
    values, places = (queries @ index.T).topk(k, dim=-1, largest=largest)
    if order == "number":
        places, at = places.sort(dim=-1)
        values = values.gather(1, at)
    if order == "worst":
        values, places = values.flip(1), places.flip(1)
    return (places, values) if swapped else (values, places)


def nearest(index, queries, k):
    distances = torch.cdist(F.normalize(queries, dim=-1), index)
    values, places = distances.topk(k, dim=-1, largest=False)
    return values, places


MAKE_INDEX_MISTAKES = [
    Mistake("the embeddings as they came", lambda x: x.clone(), fix="Divide each row by its length."),
    Mistake("the embeddings with each column of length 1", lambda x: F.normalize(x, dim=0), fix="dim=-1."),
    Mistake("the embeddings divided by the sum of their absolute values", lambda x: F.normalize(x, p=1, dim=-1)),
    Mistake("the embeddings divided by their largest value", lambda x: x / x.abs().amax(dim=-1, keepdim=True)),
    Mistake("the embeddings divided by the squared length", lambda x: x / x.square().sum(-1, keepdim=True),
            fix="The root."),
    Mistake("the embeddings divided by one length, that of the whole table", lambda x: x / x.norm()),
]

SEARCH_MISTAKES = [
    Mistake("the hits with queries not normalised: the scores are no cosines", normal=False),
    Mistake("the worst pictures instead of the best", largest=False, fix="topk's default is the largest."),
    Mistake("the right hits in the order of their numbers", order="number", fix="The best comes first."),
    Mistake("the right hits, the best last", order="worst", fix="The best comes first."),
    Mistake("the numbers first and the cosines second", swapped=True, fix="(cosines, numbers)."),
    Mistake("distances instead of cosines", nearest, fix="queries @ index.T."),
]

TASKS = [
    Task("make_index", index_cases, reference=index_reference, mistakes=MAKE_INDEX_MISTAKES,
         like="rows divided by their length"),
    Task("search", cases, reference=reference, flawed=flawed, mistakes=SEARCH_MISTAKES, like="sorting all cosines"),
]


# %% hints
HINTS = [
    ("Cosines above 1", "The queries have a length, too: normalise both sides."),
    ("(k, Q) or too few comes out", "`topk(k, dim=-1)` on `queries @ index.T`, which is (Q, P)."),
    ("What does topk give?", "Values and indices; both are asked for, in this order."),
]
