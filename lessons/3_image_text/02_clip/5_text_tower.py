"""The text tower, forward  (20 minutes, difficulty 3 of 5)

Everything between ids and embedding. `parts` is a dict:

    "token_table"   (vocabulary, D)
    "pos"           (context, D)
    "blocks"        a list of functions (x, mask) -> x; mask (N, N) is True
                    where a token may look
    "norm"          a function on tokens, used once, behind the blocks
    "projection"    (D, E), applied as token @ projection

The tower is causal, and pooled at the first end of text, the largest id.
Hand in {"embedded": tokens before the blocks, "encoded": tokens after the
norm, "embedding": (T, E)}.
"""

import torch


# %% solution
def text_tower(ids, parts):
    """ids (T, N) -> dict with embedded, encoded (T, N, D) and embedding (T, E)."""
    n = ids.shape[1]
    embedded = x = parts["token_table"][ids] + parts["pos"][:n]
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    for block in parts["blocks"]:
        x = block(x, mask)
    encoded = parts["norm"](x)
    pooled = encoded[torch.arange(len(ids)), ids.argmax(dim=-1)]
    return {"embedded": embedded, "encoded": encoded, "embedding": pooled @ parts["projection"]}


# %% check: a causal tower against torch.nn.TransformerEncoder
import torch.nn.functional as F
from torch import nn

from lessons.checker import Mistake, Task


def make_parts(random, vocabulary, context, dim, heads, depth, embed_dim):
    settings = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True, "dtype": torch.float64}
    layers = [nn.TransformerEncoderLayer(dim, heads, 2 * dim, **settings) for _ in range(depth)]
    norm = nn.LayerNorm(dim, dtype=torch.float64)
    for parameter in nn.ModuleList([*layers, norm]).parameters():
        parameter.data = random(*parameter.shape) * 0.5
        parameter.requires_grad_(False)

    def run_norm(x):
        return norm(x)

    run_norm.layers, run_norm.module = layers, norm
    return {
        "token_table": random(vocabulary, dim),
        "pos": random(context, dim),
        "blocks": [lambda x, mask, layer=layer: layer(x, src_mask=~mask) for layer in layers],
        "norm": run_norm,
        "projection": random(dim, embed_dim),
    }


def cases(random):
    for texts, n, context, dim, heads, depth, embed_dim in [(2, 5, 7, 6, 2, 2, 4), (3, 6, 6, 4, 1, 3, 4)]:
        ids = random.integers(1, 18, texts, n)
        for row, end in zip(ids, [n - 1, 2, 3]):
            row[end] = 19
            row[end + 1 :] = 0
        yield {"ids": ids, "parts": make_parts(random, 20, context, dim, heads, depth, embed_dim)}


def reference(ids, parts):
    positions = torch.arange(ids.shape[1])
    embedded = F.embedding(ids, parts["token_table"]) + F.embedding(positions, parts["pos"])
    x = embedded
    causal = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], dtype=torch.float64)
    for layer in parts["norm"].layers:
        x = layer(x, src_mask=causal)
    encoded = parts["norm"].module(x)
    pooled = torch.stack([text[row.index(19)] for text, row in zip(encoded, ids.tolist())])
    return {"embedded": embedded, "encoded": encoded, "embedding": torch.matmul(pooled, parts["projection"])}


def flawed(
    ids, parts, mask="causal", first=0, use_pos=1, norm="end", place=lambda ids: ids.argmax(dim=-1), choose=lambda b: b
):
    n = ids.shape[1]
    rows = (torch.arange(n) + first).clamp(max=len(parts["pos"]) - 1)
    embedded = x = parts["token_table"][ids] + use_pos * parts["pos"][rows]
    look = torch.ones(n, n, dtype=torch.bool)
    look = {"causal": look.tril(), "none": look, "turned": look.triu(), "ahead": look.tril(1)}[mask]
    for block in choose(parts["blocks"]):
        x = block(x, look)
    encoded = parts["norm"](x) if norm == "end" else x
    pooled = encoded[torch.arange(len(ids)), place(ids)]
    return {"embedded": embedded, "encoded": encoded, "embedding": pooled @ parts["projection"]}


MISTAKES = [
    Mistake("a tower without the causal mask: every token sees the whole text", mask="none"),
    Mistake("a tower with the mask turned round: tokens see what comes after them", mask="turned"),
    Mistake("a tower whose tokens see the next one too", mask="ahead", fix="tril() without an offset."),
    Mistake("a tower with positions off by one", first=1, fix="The first token has row 0 of pos."),
    Mistake("a tower without positions", use_pos=0),
    Mistake("a tower without its last norm", norm="never"),
    Mistake("a tower pooled at the last token of the row", place=lambda ids: torch.full((len(ids),), ids.shape[1] - 1)),
    Mistake("a tower pooled at the first token", place=lambda ids: torch.zeros(len(ids)).long()),
    Mistake("a tower that runs only its first block", choose=lambda blocks: blocks[:1]),
]

TASKS = [
    Task("text_tower", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="torch.nn.TransformerEncoder with a causal mask"),
]


# %% hints
HINTS = [
    ("Where to begin", "3.2.3 makes the tokens, 2.1.3 the mask, 3.2.1 the pooling: this exercise puts them in a row."),
    ("`encoded` is wrong from the second token on", "Each block gets the causal mask, True on and below the diagonal."),
    ("Only `embedding` is wrong", "`encoded[torch.arange(T), ids.argmax(dim=-1)] @ projection`."),
]
