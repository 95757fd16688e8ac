"""BiomedCLIP's text head  (10 minutes, difficulty 2 of 5)

From the tokens behind BERT's last block to the shared space: take the first
token, [CLS], as it is; multiply by `w1`, apply the exact GELU, multiply by
`w2`. No bias anywhere, and no unit length yet. Matrices are stored as
`torch.nn.Linear` stores them: (out, in). Like open_clip's HFTextEncoder with
`hf_pooler_type="cls_last_hidden_state_pooler"` and `hf_proj_type="mlp"`.
"""

import torch
import torch.nn.functional as F


# %% solution
def text_head(tokens, w1, w2):
    """tokens (B, N, D), w1 (M, D), w2 (E, M) -> (B, E)."""
    return F.gelu(tokens[:, 0] @ w1.T) @ w2.T


# %% check: the head against open_clip's pooler and torch's own layers
from types import SimpleNamespace

from open_clip.hf_model import ClsLastHiddenStatePooler
from torch import nn

from lessons.checker import Mistake, Task


def cases(random):
    for texts, length, dim, middle, embed in [(2, 5, 6, 5, 4), (3, 4, 8, 8, 8), (1, 3, 4, 6, 8)]:
        yield {"tokens": random(texts, length, dim), "w1": random(middle, dim), "w2": random(embed, middle)}


def reference(tokens, w1, w2):
    head = nn.Sequential(
        nn.Linear(w1.shape[1], w1.shape[0], bias=False), nn.GELU(), nn.Linear(w2.shape[1], w2.shape[0], bias=False)
    )
    pooled = ClsLastHiddenStatePooler()(SimpleNamespace(last_hidden_state=tokens), None)
    return torch.func.functional_call(head, {"0.weight": w1, "2.weight": w2}, (pooled,))


def flawed(tokens, w1, w2, pool="first", tanh=False, act=F.gelu, unit=False, last=False, order=False):
    pooled = {"first": tokens[:, 0], "last": tokens[:, -1], "mean": tokens.mean(dim=1)}[pool]
    pooled = torch.tanh(pooled) if tanh else pooled
    hidden = act(pooled) @ w1.T if order else act(pooled @ w1.T)
    out = hidden @ w2.T
    out = act(out) if last else out
    return F.normalize(out, dim=-1) if unit else out


MISTAKES = [
    Mistake("the head behind a tanh, as BERT's own pooler has it", tanh=True, fix="Take tokens[:, 0] as it is."),
    Mistake("the head on the mean of the tokens", pool="mean", fix="[CLS] is token 0."),
    Mistake("the head on the last token, as CLIPS pools", pool="last", fix="[CLS] is token 0."),
    Mistake("the head with the GELU's approximation by tanh", act=lambda x: F.gelu(x, approximate="tanh"),
            fix="F.gelu(x), without approximate."),
    Mistake("the head with a ReLU", act=F.relu, fix="F.gelu."),
    Mistake("two matrices with nothing between them, which are one matrix", act=lambda x: x,
            fix="F.gelu between the two."),
    Mistake("the head with a second GELU at its end", last=True, fix="Only between the matrices."),
    Mistake("the head whose GELU stands before the first matrix", order=True, fix="F.gelu(cls @ w1.T) @ w2.T."),
    Mistake("the right vectors, made one unit long already", unit=True, fix="The cosine does that later."),
]

TASKS = [
    Task("text_head", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         gradients=("tokens", "w1", "w2"), like="open_clip's HFTextEncoder behind its last block"),
]


# %% hints
HINTS = [
    ("Shapes do not fit", "`nn.Linear` stores (out, in): multiply by the transposed matrix, `x @ w.T`."),
    ("A little off everywhere", "The exact GELU is torch's default; `approximate='tanh'` is another function."),
    ("Far off, all values between -1 and 1", "There is no tanh: BERT's pooler is not part of BiomedCLIP."),
]
