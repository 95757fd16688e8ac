"""What the first block reads  (10 minutes, difficulty 2 of 5)

BERT's embedding: for each token the sum of three table rows (its word, its
position 0, 1, 2 ..., its type), then a LayerNorm with eps 1e-12 over the D
numbers of each token, with gain and bias. `token_types` may be None: then
all tokens are of type 0. Like `BertEmbeddings` in transformers.

`tables` is a dict: "words" (V, D), "positions" (P, D), "types" (2, D),
"gain" (D), "bias" (D). `torch.nn.functional.layer_norm` is allowed.
"""

import torch
import torch.nn.functional as F


# %% solution
def embed(ids, token_types, tables):
    """ids (B, N) int64, token_types (B, N) int64 or None, a dict of tables -> (B, N, D)."""
    types = torch.zeros_like(ids) if token_types is None else token_types
    x = tables["words"][ids] + tables["positions"][: ids.shape[1]] + tables["types"][types]
    return F.layer_norm(x, x.shape[-1:], tables["gain"], tables["bias"], 1e-12)


# %% check: the embedding against the BertEmbeddings of transformers
from functools import cache

from lessons.checker import Mistake, Task


def cases(random):
    for batch, n, dim, size, typed in [(2, 4, 6, 1, True), (3, 5, 8, 1, False), (2, 3, 4, 0.003, True)]:
        tables = {"words": random(20, dim), "positions": random(9, dim), "types": random(2, dim)}
        tables = {name: table * size for name, table in tables.items()}
        types = random.integers(0, 2, batch, n) if typed else None
        tables |= {"gain": 1 + 0.3 * random(dim), "bias": random(dim)}
        yield {"ids": random.integers(0, 20, batch, n), "token_types": types, "tables": tables}


@cache
def layer(dim):
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertEmbeddings

    numbers = {"vocab_size": 20, "max_position_embeddings": 9, "hidden_size": dim, "pad_token_id": None}
    return BertEmbeddings(BertConfig(**numbers)).double().eval()


NAMES = {
    "words": "word_embeddings.weight",
    "positions": "position_embeddings.weight",
    "types": "token_type_embeddings.weight",
    "gain": "LayerNorm.weight",
    "bias": "LayerNorm.bias",
}


def reference(ids, token_types, tables):
    weights = {NAMES[name]: table for name, table in tables.items()}
    given = {"input_ids": ids, "token_type_ids": token_types}
    return torch.func.functional_call(layer(tables["words"].shape[1]), weights, kwargs=given)


def flawed(ids, token_types, tables, first=0, types="sum", norm=True, eps=1e-12, learned=True, axis=-1, reverse=False):
    n = ids.shape[1]
    kinds = torch.zeros_like(ids) if token_types is None else token_types
    typed = tables["types"][1 - kinds if types == "swapped" else kinds]
    typed = typed * 0 if types == "none" or (types == "only pairs" and token_types is None) else typed
    places = tables["positions"][first : first + n]
    x = tables["words"][ids] + (places.flip(0) if reverse else places)
    x = x if types == "after" else x + typed
    if norm:
        x = x - x.mean(dim=axis, keepdim=True)
        x = x / (x.square().mean(dim=axis, keepdim=True) + eps).sqrt()
        x = x * tables["gain"] + tables["bias"] if learned else x
    return x + typed if types == "after" else x


MISTAKES = [
    Mistake("the embedding without its norm", norm=False, fix="F.layer_norm over the last axis."),
    Mistake("the embedding without token types", types="none"),
    Mistake("the embedding without the row of type 0 where types are None", types="only pairs",
            fix="None means type 0 everywhere, and type 0 has a row."),
    Mistake("the embedding with the two types exchanged", types="swapped"),
    Mistake("the embedding with the types added behind the norm", types="after", fix="Sum all three first."),
    Mistake("the embedding with positions counted from 1", first=1, fix="The first token has position 0."),
    Mistake("the embedding with eps 1e-5, PyTorch's default", eps=1e-5, fix="eps is 1e-12 here."),
    Mistake("the embedding with the norm's gain and bias left out", learned=False),
    Mistake("the embedding normalised over the tokens", axis=1, fix="Over the D numbers of each token."),
    Mistake("the embedding with the positions back to front", reverse=True),
]

TASKS = [
    Task("embed", cases, reference=reference, flawed=flawed, mistakes=MISTAKES, gradients=("tables",),
         like="BertEmbeddings of transformers"),
]


# %% hints
HINTS = [
    ("Where to begin", "`tables['words'][ids]` looks up a row for each id: (B, N, D)."),
    ("The shapes do not line up", "Positions are the same for every sentence: `tables['positions'][:N]` is (N, D)."),
    ("Wrong only where types are None", "Type 0 has a row too, and it counts: `tables['types'][0]`."),
]
