"""Search in pieces  (15 minutes, difficulty 3 of 5)

A million pictures do not fit into one similarity matrix. Walk over the
index in pieces of `chunk` rows, keep only the k best found so far, and give
the same as one topk over everything (`torch.topk(queries @ index.T, k)`).
The last piece may be shorter, and shorter than k.
"""

import torch


# %% solution
def search_in_chunks(index, queries, k, chunk):
    """index (P, E), queries (Q, E), both normalised -> (cosines (Q, k), picture numbers (Q, k) int64)."""
    values, places = queries.new_zeros(len(queries), 0), torch.zeros(len(queries), 0, dtype=torch.long)
    for start in range(0, len(index), chunk):
        piece = queries @ index[start : start + chunk].T
        numbers = torch.arange(start, start + piece.shape[1]).expand(len(queries), -1)
        values, places = torch.cat([values, piece], dim=1), torch.cat([places, numbers], dim=1)
        best = values.topk(min(k, values.shape[1]), dim=1)
        values, places = best.values, places.gather(1, best.indices)
    return values, places


# %% check: hits found in pieces against one torch.topk
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def cases(random):
    for pictures, queries, dim, k, chunk in [(10, 2, 4, 3, 4), (9, 3, 3, 5, 2), (6, 2, 5, 2, 6), (11, 4, 6, 4, 5)]:
        index, asked = F.normalize(random(pictures, dim), dim=-1), F.normalize(random(queries, dim), dim=-1)
        yield {"index": index, "queries": asked, "k": k, "chunk": chunk}


def reference(index, queries, k, chunk):
    return tuple(torch.topk(torch.matmul(queries, index.T), k, dim=-1))


def pieces(index, queries, k, chunk, offset=lambda start: start, last=True):
    """Cosines and numbers, piece by piece."""
    stop = len(index) if last else len(index) - len(index) % chunk
    for start in range(0, stop, chunk):
        scores = queries @ index[start : start + chunk].T
        numbers = torch.arange(scores.shape[1]) + offset(start)
        yield scores, numbers.expand(len(queries), -1)


def merged(index, queries, k, chunk, offset=lambda start: start, last=True, resort=True):
    found = list(pieces(index, queries, k, chunk, offset, last))
    values, places = (torch.cat(part, dim=1) for part in zip(*found))
    if not resort:
        found = [(v.topk(min(k, v.shape[1]), dim=1), p) for v, p in found]
        values = torch.cat([best.values for best, _ in found], dim=1)[:, :k]
        return values, torch.cat([p.gather(1, best.indices) for best, p in found], dim=1)[:, :k]
    best = values.topk(min(k, values.shape[1]), dim=1)
    return best.values, places.gather(1, best.indices)


def one_piece(index, queries, k, chunk, which=-1):
    scores, numbers = list(pieces(index, queries, k, chunk))[which]
    best = scores.topk(min(k, scores.shape[1]), dim=1)
    return best.values, numbers.gather(1, best.indices)


def places_in_the_list(index, queries, k, chunk):
    """Merges the values rightly and forgets to follow the numbers."""
    values = queries.new_zeros(len(queries), 0)
    for scores, _ in pieces(index, queries, k, chunk):
        best = torch.cat([values, scores], dim=1)
        best = best.topk(min(k, best.shape[1]), dim=1)
        values, places = best.values, best.indices
    return values, places


MISTAKES = [
    Mistake("the right cosines with numbers counted within each piece", offset=lambda start: 0, fix="Add start."),
    Mistake("the hits of the last piece alone", one_piece, which=-1, fix="Keep the best of all pieces."),
    Mistake("the hits of the first piece alone", one_piece, which=0, fix="Keep the best of all pieces."),
    Mistake("the hits without the last, shorter piece", last=False, fix="range(0, len(index), chunk) reaches it."),
    Mistake("the best of each piece one after the other, not sorted again", resort=False, fix="topk over all found."),
    Mistake("the right cosines with their places in the merged list instead of the pictures' numbers",
            places_in_the_list, fix="Carry the numbers along: numbers.gather(1, best.indices)."),
    Mistake("the right hits with numbers counted from 1", offset=lambda start: start + 1),
]

TASKS = [
    Task("search_in_chunks", cases, reference=reference, flawed=merged, mistakes=MISTAKES,
         like="one torch.topk over everything"),
]


# %% hints
HINTS = [
    ("Where to begin",
     "`for start in range(0, len(index), chunk)`: the piece is `index[start : start + chunk]`, whatever is left."),
    ("The numbers are too small", "topk counts within the piece: add start."),
    ("Merging", "`torch.cat` the best so far with the piece's, topk again; gather the numbers with the new places."),
]
