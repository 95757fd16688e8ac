"""Other right answers to the exercises of lesson 2.7: recursion, loops, torch's own helpers."""

import math

import torch
import torch.nn.functional as F

from tests.lessons.alternatives import honest


@honest("2.7.1")
def word_pieces(word, vocabulary):
    """Recursion over what is left; None where nothing fits."""

    def cut(rest, mark):
        if not rest:
            return []
        for size in range(len(rest), 0, -1):
            if mark + rest[:size] in vocabulary:
                tail = cut(rest[size:], "##")
                return None if tail is None else [mark + rest[:size], *tail]
        return None

    return ["[UNK]"] if len(word) > 100 else cut(word, "") or ["[UNK]"]


@honest("2.7.1")
def word_pieces__shrinking(word, vocabulary):
    """The beginning shrinks letter by letter, as a string."""
    pieces, rest, mark = [], word, ""
    while rest and len(word) <= 100:
        front = rest
        while front and mark + front not in vocabulary:
            front = front[:-1]
        if not front:
            return ["[UNK]"]
        pieces, rest, mark = [*pieces, mark + front], rest[len(front) :], "##"
    return pieces or ["[UNK]"]


@honest("2.7.2")
def post_norm_block(x, norm1, attention, norm2, mlp):
    answers = {}
    for name, part, norm in (("after_attention", attention, norm1), ("output", mlp, norm2)):
        x = norm(torch.add(part(x), x))
        answers[name] = x
    return answers


@honest("2.7.3")
def padded_attention(q, k, v, mask):
    """An addend of minus infinity, as transformers' eager code has it."""
    bias = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(mask == 0, -math.inf)
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(q.shape[-1]) + bias[:, None, None]
    weights = torch.softmax(scores, dim=-1)
    return {"weights": weights, "output": torch.einsum("bhij,bhjd->bhid", weights, v)}


@honest("2.7.3")
def padded_attention__divided_again(q, k, v, mask):
    """After the softmax, but each row is divided by what is left: the same."""
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) * mask[:, None, None, :]
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return {"weights": weights, "output": weights @ v}


@honest("2.7.4")
def embed(ids, token_types, tables):
    types = F.one_hot(ids * 0 if token_types is None else token_types, 2).to(tables["types"].dtype)
    x = F.embedding(ids, tables["words"]) + types @ tables["types"]
    x = x + F.embedding(torch.arange(ids.shape[1]), tables["positions"])
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-12) * tables["gain"] + tables["bias"]


@honest("2.7.5")
def sentence_vectors(tokens, mask):
    real = mask.to(tokens.dtype)
    return torch.einsum("bn,bnd->bd", real / real.sum(dim=1, keepdim=True), tokens)
