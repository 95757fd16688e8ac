"""The causal mask  (10 minutes, difficulty 2 of 5)

A text tower may not look ahead: token i sees tokens 0 to i. Write the mask,
and the attention that obeys any mask.

`causal_mask` is like `torch.ones(N, N, dtype=torch.bool).tril()`;
`masked_attention` is like
`torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)`.
"""

import torch
from einops import einsum, rearrange


# %% solution
def causal_mask(num_tokens):
    """-> (N, N) of True and False: row i is True where token i may look."""
    place = torch.arange(num_tokens)
    return place[:, None] >= place[None, :]


def masked_attention(q, k, v, mask):
    """q, k, v (B, heads, N, d); mask (N, N) or (B, 1, N, N), True where a query may look -> (B, heads, N, d)."""
    scores = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return einsum(weights, v, "b heads i j, b heads j d -> b heads i d")


# %% check: the mask against an independent loop, masked attention against torch
import torch.nn.functional as F

from lessons.checker import Mistake, Task


def mask_cases(random):
    for num_tokens in (4, 1, 7):
        yield {"num_tokens": num_tokens}


def mask_reference(num_tokens):
    return torch.tensor([[key <= query for key in range(num_tokens)] for query in range(num_tokens)])


def cases(random):
    for batch, heads, n, d in [(2, 1, 4, 3), (3, 2, 6, 4), (2, 2, 5, 8)]:
        q, k, v = (random(batch, heads, n, d) for _ in range(3))
        yield {"q": q, "k": k, "v": v, "mask": mask_reference(n)}
        padding = torch.arange(n) < random.integers(1, n + 1, batch, 1)  # texts of several lengths
        yield {"q": q, "k": k, "v": v, "mask": padding[:, None, None, :].expand(batch, 1, n, n)}


def flawed_mask(num_tokens, diagonal=0, turned=False, number=False):
    mask = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril(diagonal)
    mask = mask.T if turned else mask
    return mask.double() if number else mask


def flawed(q, k, v, mask, scale=True, hidden=float("-inf"), where="before", turned=False):
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale else 1)
    mask = ~mask if turned else mask
    if where == "before":
        return scores.masked_fill(~mask, hidden).softmax(dim=-1) @ v
    if where == "times":
        return (scores * mask).softmax(dim=-1) @ v
    if where == "after":
        return (scores.softmax(dim=-1) * mask) @ v
    return scores.softmax(dim=-1) @ v


CAUSAL_MASK_MISTAKES = [
    Mistake("the mask turned round: token i sees what comes after it", turned=True, fix="Rows are queries."),
    Mistake("the mask one short: a token does not see itself", diagonal=-1, fix="Use <=, not <."),
    Mistake("the mask one too far: each token sees the next one", diagonal=1),
    Mistake("the opposite mask: True where looking is forbidden", lambda n: ~flawed_mask(n),
            fix="True means that the query may look."),
    Mistake("a mask that allows everything", diagonal=100),
]

MASKED_ATTENTION_MISTAKES = [
    Mistake("the reference with the mask after the softmax: the weights left over do not sum to one", where="after",
            fix="Write -inf into the forbidden scores before the softmax."),
    Mistake("the reference with forbidden scores set to 0: the softmax of 0 is not 0", hidden=0.0,
            fix="Write float('-inf') and not 0 before the softmax."),
    Mistake("attention without the mask", where="never"),
    Mistake("the reference with the mask turned round: allowed and forbidden swapped", turned=True, fix="Use ~mask."),
    Mistake("the reference with forbidden scores set to -1, which is not small enough", hidden=-1.0),
    Mistake("the reference without the 1/sqrt(head_dim) scale", scale=False),
]

TASKS = [
    Task("causal_mask", mask_cases, reference=mask_reference, flawed=flawed_mask, mistakes=CAUSAL_MASK_MISTAKES,
         like="torch.ones(N, N, dtype=torch.bool).tril()"),
    Task("masked_attention", cases,
         reference=lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask), flawed=flawed,
         mistakes=MASKED_ATTENTION_MISTAKES, gradients=("q", "k", "v"),
         like="torch.nn.functional.scaled_dot_product_attention with attn_mask",
         forbidden=("scaled_dot_product_attention", "MultiheadAttention", "multi_head_attention_forward")),
]


# %% hints
HINTS = [
    ("I do not know how to make the mask",
     "Compare two counters: `torch.arange(N)` as a column with `torch.arange(N)` as a row."),
    ("The weights do not sum to one",
     "Forbid before the softmax, not after it: a score of minus infinity becomes a weight of 0."),
    ("All NaN",
     "`masked_fill` writes where its mask is True; the mask here is True where looking is allowed. Turn it round with "
     "~."),
]
